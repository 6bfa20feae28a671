"""The model card that `geometry.model_learning` writes beside the model."""

from geometry.model.morphable_model import MorphableModel

_ICT_LICENCE = """MIT License

Copyright (c) 2020 USC Institute for Creative Technologies

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE."""
_CARD = """# Model card: face-relief's default morphable model

`face_relief_model.npz`, written by

    {command}

(which also writes this card). The format is described in `docs/reference/model_format.md`.

## What it is
A linear model of the outer face, ear to ear, chin and the start of the neck to the hairline, in mm, origin at the mean's nose
tip, x to the subject's left, y up, z out of the face. {vertices} vertices and {triangles} triangles of the project's own
template: one disc-shaped, mirror-symmetric piece of surface, with the 68 iBUG landmarks as vertices and closed eyes, nostrils \
and mouth,
so that a depth image has no holes; and behind the patches that close them, as full head scans carry them, the linings of mouth
and nostrils ({cavity_vertices} of the vertices), pieces of their own that no view from the front reaches. {identity_modes} \
identity modes in mm per standard deviation (coefficients N(0, 1)) and
{expression_modes} blendshapes (weights in [0, 1], ARKit-like names).

## From what
A population sampled from the **ICT Face Model Light** (USC Institute for Creative Technologies), sha256 `{source_sha256}`:
{subjects} draws of all its identity coefficients from N(0, 1), seed {seed}. Each draw stands for four subjects: itself, its \
mirror
image and the opposites of both, so that the mean is the source's mean. Every subject also gets a smooth deformation of its own
along the normals, a Gaussian process of standard deviation {local_sigma} mm and correlation length {local_length} mm (Lüthi et \
al.
2018), because real faces differ by more than the source's modes.

## How
Every template vertex is a fixed linear combination of source vertices, so that shapes carry over exactly: the source's skin is
split along a smooth (butterfly) surface, cut at the neck, the nostrils and the inner lips, and triangulated anew by a centroidal
Voronoi tessellation, denser at eyes, nose and mouth. Patches close the openings: the eye patch follows its lids and bulges
onto the eyeball in proportion to the eye's opening; the mouth patch spans the lips; the nostrils are shallow pits. The \
identity basis
holds the population's leading principal components under a norm that counts motion along the surface {tangential_weight}-fold \
(it changes
no shape) and area outside the trusted face {outside_weight}-fold; the linings count nothing, they follow.
The mouth's lining is the source's, from 2 mm behind the inner lip contour to the throat; behind the teeth its height is 0.35 \
of the
source's, whose bag leaves room for modelled teeth and tongue. That share was chosen by the five registered head scans at hand, \
so the
distances there are no independent measure of it.
The blendshapes are the source's, without the gaze ones that leave the lids in place.

## Figures, as the command printed them
| | |
| --- | --- |
| held-out identities of the source (30, seed 1): mean distance, source vertex → model surface, within the face | \
{held_out_mean_mm:.3f} mm |
| the same, 95th percentile; mean of the worst subject | {held_out_p95_mm:.3f} mm; {held_out_worst_subject_mm:.3f} mm |
| over the whole head, each identity the nearest there: mean distance | {held_out_head_mean_mm:.3f} mm |
| of which the triangulation itself, on the mean shape | {chord_mean_mm:.3f} mm |
| edges: median; 5th and 95th percentile within the face | {edge_mm_median:.2f} mm; {face_edge_mm_p5:.2f} and \
{face_edge_mm_p95:.2f} mm |
| smallest angle of a triangle: minimum; 1st percentile | {smallest_angle_deg:.1f}°; {smallest_angle_deg_p1:.1f}° |
| quantisation, largest error of a vertex coordinate | {quantisation_mm_per_sigma:.4f} mm per σ |
| vertices that a fit may trust (region "face") | {face_vertices} |
| file | {bytes} bytes |

## Limits
It knows what the ICT model knows: light-stage scans of adults, closed-mouth neutral faces, no hair, beard or glasses. Children,
the very old and many populations are thinly covered. Ears and neck are coarse and not to be measured. It is a shape prior, not \
a means
of identifying people.

## Licence notice of the source
The model is derived from the ICT Face Model Light under its licence:

```
{licence}
```
"""


def model_card(model: MorphableModel, figures: dict[str, float], command: str) -> str:
    """Markdown text."""
    return _CARD.format(
        command=command,
        licence=_ICT_LICENCE,
        source_sha256=model.notes["source_sha256"],
        **figures,
        **{key: value for key, value in model.notes["learning"].items() if key not in figures},
    )
