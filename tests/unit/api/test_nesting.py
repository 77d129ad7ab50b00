"""Values of any JSON have a bound on their depth, which no schema can say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.builders import a_step

from dataops_operator.api.base import NESTING, shallow
from dataops_operator.api.environment import EnvironmentParameter
from dataops_operator.api.parameter import Parameter, ParameterType
from dataops_operator.core.parameters import coerce
from dataops_operator.core.results import ResultError, read


def nested(levels: int) -> Any:
    value: Any = 1
    for index in range(levels):
        value = [value] if index % 2 else {"a": value, "b": 7}
    return value


def test_a_value_at_the_limit_is_taken_and_one_beyond_is_not() -> None:
    assert shallow(nested(NESTING)) == nested(NESTING)
    with pytest.raises(ValueError, match="nested deeper than 64 levels; pass a location instead"):
        shallow(nested(NESTING + 1))


def test_every_place_for_any_json_is_bounded() -> None:
    for model, field in ((Parameter, "default"), (EnvironmentParameter, "value")):
        with pytest.raises(ValidationError, match="nested deeper"):
            model.model_validate({"name": "p", field: nested(200)})


def test_json_in_a_string_and_in_a_result_is_bounded_too() -> None:
    with pytest.raises(ValueError, match="is not an array"):
        coerce("[" * 500 + "]" * 500, ParameterType.ARRAY)
    step = a_step(outputs=[{"name": "o", "type": "Array"}])
    with pytest.raises(ResultError, match="nested deeper"):
        read(step, '{"outputs": {"o": %s}}' % ("[" * 300 + "]" * 300))
