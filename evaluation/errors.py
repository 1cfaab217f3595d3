"""Errors of the evaluation.

DdsrError
`-- MaterialMissing (400)   a data set, a weight file or a package that a measurement needs is not there
"""

from shared.errors import InputError


class MaterialMissing(InputError):
    code, status, title = "material-missing", 400, "Material for the evaluation is missing"
