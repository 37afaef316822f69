"""The mesh's points by what they are: numbers of MediaPipe's 468, in rows from the picture's left to its right.

"Right" and "left" are the person's, so that the right eye is the first from the picture's left.
"""

from __future__ import annotations

POINTS = 468
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
# Lips: from outside to inside, eleven points each; the corners belong to two of them.
UPPER_LIP = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
)
LOWER_LIP = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
OUTER, INNER = 0, -1  # of the rows of a lip
# Eyes: upper rim, lower rim, fold of the upper lid; nine points each, from outer to inner corner.
RIGHT_EYE = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133),
    (33, 7, 163, 144, 145, 153, 154, 155, 133),
    (130, 247, 30, 29, 27, 28, 56, 190, 243),
)
LEFT_EYE = (
    (263, 466, 388, 387, 386, 385, 384, 398, 362),
    (263, 249, 390, 373, 374, 380, 381, 382, 362),
    (359, 467, 260, 259, 257, 258, 286, 414, 463),
)
EYES = (RIGHT_EYE, LEFT_EYE)
RIGHT_CORNER, LEFT_CORNER = 33, 263  # the outer corners of the eyes
UPPER_MIDDLE, LOWER_MIDDLE = 13, 14  # of the inner lips
RIGHT_MOUTH, LEFT_MOUTH = 61, 291  # outer corners of the mouth
CHIN, TIP_OF_CHIN, NOSE_ROOT = 199, 152, 168
CHEEKS = (50, 280, 101, 330)
BELOW_LIP = {18: 0.30, 313: 0.28, 83: 0.28, 182: 0.22, 406: 0.22, 200: 0.12, 201: 0.12, 421: 0.12, 199: 0.06}
BROWS = (52, 65, 282, 295, 53, 283)
