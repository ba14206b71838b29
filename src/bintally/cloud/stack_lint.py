"""A template looked at by cfn-lint before CloudFormation sees it: types, properties, policies and references.

Refuses a template in which it finds an error; warnings are handed back.
"""

from collections.abc import Sequence

from cfnlint.api import lint
from cfnlint.config import ManualArgs

from bintally.errors import CloudError


def lint_template(text: str, *, region: str) -> Sequence[str]:
    """What cfn-lint says of a template, but for errors.

    Raises:
        CloudError: if it holds errors; nothing may be applied then.
    """
    found = lint(text, config=ManualArgs(regions=[region]))
    said = [f"{match.rule.id} at {'.'.join(map(str, match.path or ()))}: {match.message}" for match in found]
    errors = [text for text, match in zip(said, found, strict=True) if match.rule.severity == "error"]
    if errors:
        raise CloudError(f"the template is wrong and was not applied; cfn-lint says: {'; '.join(errors)}")
    return [text for text, match in zip(said, found, strict=True) if match.rule.severity != "error"]
