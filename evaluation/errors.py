"""Errors of the evaluation.

DdsrError
|-- MaterialMissing (400)     a data set, a weight file or a package that a measurement needs is not there
|-- ServiceRefused (400)      a verification service does not take the request, or may not be asked
`-- ServiceUnavailable (503)  a verification service does not answer
"""

from shared.errors import DdsrError, InputError


class MaterialMissing(InputError):
    code, status, title = "material-missing", 400, "Material for the evaluation is missing"


class ServiceRefused(InputError):
    code, status, title = "service-refused", 400, "A verification service cannot be asked"


class ServiceUnavailable(DdsrError):
    code, status, title = "service-unavailable", 503, "A verification service does not answer"
