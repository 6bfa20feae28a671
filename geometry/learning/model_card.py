"""The model card that `geometry.model_learning` writes beside the model."""

from collections.abc import Mapping

import numpy as np

from geometry.learning.steady_distances import STEADY
from geometry.model.morphable_model import MorphableModel

_CHANGES_SHOWN = 6
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
_CARD = """<!-- --8<-- [start:card] -->
# Model card: face-relief's default morphable model

`face_relief_model.npz`, written by

    {command}

(which also writes this card). The format is described in `docs/reference/model_format.md`.

## What it is
A linear model of the whole head, from the crown to the neck, in mm, x to the subject's left, y up, z out of the face, origin,
once loaded, at the mean's nose tip. {vertices} vertices and {triangles} triangles of the project's own template: one piece
of skin, open at the neck, the eyes and the mouth, its triangles laid along the rims of lids, lips, nostrils and the
ears' conchae, and behind it eyeballs, a mouth bag and the linings of the nostrils ({cavity_vertices} of the
vertices), pieces of their own. It is exactly its own mirror image, and says which vertices are each other's. Regions
and curves have names, the 68 iBUG landmarks are vertices, and a texture has its layout. {identity_modes} identity
modes in mm per standard deviation (coefficients N(0, 1)), each symmetric or antisymmetric, and {expression_modes}
blendshapes (weights in [0, 1], ARKit-like names).

## From what
A population sampled from the **ICT Face Model Light** (USC Institute for Creative Technologies), sha256 `{source_sha256}`:
{subjects} draws of all its identity coefficients from N(0, 1), seed {seed}. Each draw stands for four subjects: itself, its \
mirror
image and the opposites of both, so that the mean is the source's mean. Every subject also gets a smooth deformation of its own
along the normals, a Gaussian process of standard deviation {local_sigma} mm and correlation length {local_length} mm (Lüthi et \
al.
2018), because real faces differ by more than the source's modes. The first {own_modes} identity modes hold this population.
{warps}
## How
Every template vertex is a fixed linear combination of source vertices, so that shapes carry over: the source's skin
is split along a smooth (butterfly) surface, cut at the neck, the nostrils, the lids and the inner lips, and
triangulated anew by a centroidal Voronoi tessellation, denser at eyes, nose and mouth. The nostrils are shallow pits.
The identity basis holds the population's leading principal components under a norm that counts motion along the
surface {tangential_weight}-fold (it changes no shape) and area outside the trusted face {outside_weight}-fold;
eyeballs and linings count nothing, they follow.
The mouth's bag is the source's, from the inner lip contour to the throat; behind the teeth its height is 0.35 of the
source's, which leaves room for modelled teeth and tongue. That share was chosen by the five registered head scans at
hand, so the distances there are no independent measure of it.
The blendshapes are the source's, without the gaze ones that leave the lids in place. Lips and lids that crossed in the source's
mean, modes and blendshapes are moved to where they touch (`geometry/learning/contact.py`): at rest the lips are 0.3 mm apart, and
modes do not part or cross them. Skin that a blendshape presses into folds is stretched (`geometry/learning/unfolding.py`), most
of it below the chin of an opened jaw. `mouthClose` is meant on top of `jawOpen`. Over faces with coefficients N(0, 1), no
distance of a few millimetres across the skin has a standard deviation of much more than {steady} of itself
(`geometry/learning/steady_distances.py`): those of the source's lips, lids, columella and throat have, and there one face in
hundreds passed through itself.

## Landmarks
The iBUG points were marked again by their definition: brows, nasion, wings of the nose, corners of the eyes and upper lip lie
elsewhere than in the source's mark-up; `docs/experiments/landmarks.md` has the table.

## Figures, as the command printed them
| | |
| --- | --- |
| held-out identities of the source (30, seed 1): mean distance, source vertex → model surface, within the face, over the \
{covered_share:.0%} of its vertices that the template passes within 0.3 mm on the mean | \
{held_out_mean_mm:.3f} mm |
| the same with the first {own_modes} modes; over the whole head with all | {held_out_own_modes_mm:.3f} mm; \
{held_out_head_mm:.3f} mm |
| within the face, 95th percentile; mean of the worst subject | {held_out_p95_mm:.3f} mm; {held_out_worst_subject_mm:.3f} mm |
| of which the triangulation itself, on the mean shape | {chord_mean_mm:.3f} mm |
| edges: median; 5th and 95th percentile within the face | {edge_mm_median:.2f} mm; {face_edge_mm_p5:.2f} and \
{face_edge_mm_p95:.2f} mm |
| smallest angle of a triangle: least of all; least and median within the face | {angle_deg_least:.1f}°; \
{face_angle_deg_least:.1f}° and {face_angle_deg_median:.1f}° |
| mean against its mirror image; identity modes against theirs or its opposite: largest difference | {asymmetry_mm:.1e} mm; \
{mode_asymmetry_mm:.1e} mm |
| texture: quasi-conformal ratio within the face, median and 95th percentile; share that overlaps | {texture_shear_median:.3f} \
and {texture_shear_p95:.3f}; {texture_overlap:.0%} |
| texels a mm² of the face's triangles at 2048²: median; 5th percentile (the picture's median is by area) | \
{texels_mm2_median:.1f}; {texels_mm2_p5:.1f} |
| blendshapes: root mean square, over the face, of what keeping lips, lids and skin apart moved; median | {changes} |
| quantisation, largest error of a vertex coordinate | {quantisation_mm_per_sigma:.4f} mm per σ |
| vertices that a fit may trust (region "face") | {face_vertices} |
| file | {bytes} bytes |

## Limits
It knows what the ICT model knows: light-stage scans of adults, closed-mouth neutral faces, no hair, beard or glasses. Children,
the very old and many populations are thinly covered. Cranium, ears and neck are coarse and not to be measured; there is no hair.
Blendshapes at full weight can still cross on faces far from the mean. It is a shape prior, not a means of identifying people.

## Licence notice of the source
The model is derived from the ICT Face Model Light under its licence:

```
{licence}
```
<!-- --8<-- [end:card] -->
"""

_WARPS = """
The other {feature_modes} modes hold what those leave of the same population with a second source of variety, because
the source is one studio's faces: local warps of lids, brows, nose, lips, chin, jaw and ears
(`geometry/learning/feature_warps.py`; left and right correlated by 0.9), times {feature_sigma}. The source gives the
distances between landmarks about as much variance as anthropometry does, but few of them freely. The warps have about
half of the published standard deviations, the author's choice. In mm, to first order:

| distance changed by | published | the source | the warps | this model |
| --- | --- | --- | --- | --- |
{rows}
"""


def model_card(
    model: MorphableModel,
    figures: dict[str, float],
    command: str,
    spreads: Mapping[str, tuple[float, ...]],
    changes: Mapping[str, float],
) -> str:
    """Markdown text. spreads: warp → standard deviations in mm; changes: blendshape → mm, the most first."""
    most = [f"`{name}` {value:.2f}" for name, value in list(changes.items())[:_CHANGES_SHOWN]]
    rows = (f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |" for name, row in spreads.items())
    warps = _WARPS.format(rows="\n".join(rows), **model.notes["learning"])
    return _CARD.format(
        command=command,
        warps=warps,
        steady=STEADY,
        changes=f"{', '.join(most)} mm; {np.median(list(changes.values())):.3f} mm",
        own_modes=model.notes["learning"]["identity_modes"],
        licence=_ICT_LICENCE,
        source_sha256=model.notes["source_sha256"],
        **figures,
        **{key: value for key, value in model.notes["learning"].items() if key not in figures},
    )
