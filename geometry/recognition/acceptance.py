"""Whether a fit is a face, and the right one: the gate between `ok` and `rejected`. A confident wrong fit is the worst bug.

Two questions are asked. *Is it a face?* A flexible model follows any smooth blob to a millimetre or two, so small residuals prove
nothing: a face is believed where the scan shows the *relief* that the fitted face predicts there: nose, eyes, mouth. *Is it
right?* That is a probability (`geometry.recognition.rightness`), of what a wrong fit cannot answer.
"""

from pydantic import Field

from geometry.errors import NoFaceFound
from geometry.fitting.beard import BeardSigns, is_bearded, thick_beard_probability
from geometry.fitting.encoding import Encoding
from geometry.fitting.result import FitResult
from geometry.recognition.evidence import Evidence, relief_explained
from geometry.recognition.rightness import probability_right
from geometry.settings.options import Positive, Share, options

MOST_DIGITS = 15
SEEN_FACE = 0.6  # a fit of which less was seen is half the model's guess, and says so
SEEN_BELOW = 0.4  # the same of the skin about mouth and chin


@options
class AcceptanceOptions:
    """Bounds of a usable face, set between real scans and synthetic non-faces, but for the last, set on simulated scans."""

    visible_face: Share = 0.25
    """Least share of the face region's area that the scan shows."""
    inlier_fraction: Share = 0.65
    """Least share of the scan's points about the face that lie on it."""
    relief_explained: float = Field(default=0.6, le=1)
    """Least share of the scan's relief that the fit explains, R²."""
    identity_sigma: Positive = 3.0
    """Largest root mean square of the identity coefficients, in standard deviations."""
    discrepancy_sigma: Positive = 1.8
    """Largest size of what the model cannot show, in parts of `fit.discrepancy_mm`, of a fit that no found landmarks support. Of
    82 right fits without landmarks of the simulated validation split two are above; a vase's is 2.5."""
    probability: Share = 0.8
    """Least probability that a fit is right: the seen face within 1.5 mm on average, and no lip landmark more than 8 mm off. With
    0.8, 97 % of the right fits of the simulated validation split are accepted and 26 % of the wrong; with 0.6, 98 % and 53 %."""
    unmarked: Share = 0.8
    """The same where nobody looked for landmarks, so that less is known of a fit: 79 % and 14 %."""
    unrecognised: Share = 0.9
    """The same where a landmark network looked at the scan and found no face: of 13 such simulated fits none was right."""


def require_face(
    fit: FitResult, encoding: Encoding, options: AcceptanceOptions = AcceptanceOptions(), marked: bool = False
) -> None:
    """The first question alone, of a fit and its encoding. marked: landmarks were found on the scan. Raises NoFaceFound."""
    relief = relief_explained(encoding.coarse, encoding.scan)
    require_bounds(fit.visible_face, fit.residuals["inlier_fraction"], relief, fit.identity_rms_sigma, options)
    if not (marked or fit.discrepancy_sigma <= options.discrepancy_sigma):
        found, most = told_apart(fit.discrepancy_sigma, options.discrepancy_sigma, 1)
        raise NoFaceFound(
            f"no face found: no landmark was, and what a model of faces cannot show is {found} times a face's, at most {most}"
        )


def require_bounds(
    visible_face: float, on_face: float, relief: float, identity_sigma: float, options: AcceptanceOptions = AcceptanceOptions()
) -> None:
    """The first question of figures as `Evidence` has them. Raises NoFaceFound with the first bound that they fail."""
    shares = (
        (visible_face, options.visible_face, "of the face is visible"),
        (on_face, options.inlier_fraction, "of the points about the face lie on it"),
        (relief, options.relief_explained, "of the scan's relief is a face's"),
    )
    for share, least, what in shares:
        if not share >= least:
            found, needed = told_apart(100 * max(share, 0.0), 100 * least)
            raise NoFaceFound(f"no face found: only {found} % {what}, at least {needed} % is needed")
    if not identity_sigma <= options.identity_sigma:
        found, most = told_apart(identity_sigma, options.identity_sigma, 1)
        raise NoFaceFound(f"no face found: the shape is implausible ({found} σ a mode, at most {most})")


def require_right(evidence: Evidence, options: AcceptanceOptions = AcceptanceOptions(), recognised: bool = True) -> float:
    """The second question: the probability in [0, 1] that a fit is right. recognised: no landmark network looked at the scan and
    found no face. Raises NoFaceFound where it is too small."""
    probability, bound = probability_right(evidence), least_probability(evidence.has_landmarks, options, recognised)
    if not probability >= bound:
        found, least = told_apart(100 * probability, 100 * bound)
        raise NoFaceFound(f"no face found: the fit is right with a probability of {found} % only, at least {least} % is needed")
    return probability


def least_probability(marked: bool, options: AcceptanceOptions, recognised: bool = True) -> float:
    """What is asked of a fit. marked: landmarks were found on its scan; recognised: as of `require_right`."""
    if marked:
        return options.probability
    return options.unmarked if recognised else max(options.unmarked, options.unrecognised)


def notes_of(evidence: Evidence, beard: BeardSigns | None = None) -> tuple[str, ...]:
    """What whoever uses an accepted fit has to know: how much of it nobody saw, and what covers it."""
    notes = []
    if evidence.visible_face < SEEN_FACE:
        notes.append(f"only {100 * evidence.visible_face:.0f} % of the face was seen; the rest is the model's guess")
    if evidence.looked_at_below < SEEN_BELOW:
        notes.append(f"only {100 * evidence.looked_at_below:.0f} % of mouth and chin was seen; the rest is the model's guess")
    if beard is not None and is_bearded(beard):
        share = 100 * thick_beard_probability(beard)
        notes.append(f"a beard seems to cover the chin (probability {share:.0f} %): surfaces and landmarks there are the beard's")
    return tuple(notes)


def told_apart(found: float, bound: float, digits: int = 0) -> tuple[str, str]:
    """Two different numbers with `digits` decimals, or as many more as it takes for them to read differently."""
    for decimals in range(digits, MOST_DIGITS):
        texts = f"{found:.{decimals}f}", f"{bound:.{decimals}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(float(found)), repr(float(bound))
