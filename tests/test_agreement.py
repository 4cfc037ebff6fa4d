"""Facts that launch, trainers and analysis each define for themselves, since none imports
another.
"""

from __future__ import annotations

import pyarrow as pa

from analysis.grokking import runs as grokking
from analysis.store import listing, parts, tidying
from launch.plan import identity, outcome
from launch.sweep import search
from trainers import part, schema
from trainers.measures import thresholds


def test_the_final_statuses_agree() -> None:
    assert set(outcome.FINAL) == {"done", "nonfinite"}
    assert set(schema.FINAL) == set(outcome.FINAL)
    assert set(parts.FINAL) == set(outcome.FINAL)


def test_the_keys_without_effect_on_the_result_agree() -> None:
    assert set(tidying.PLACES) == set(identity.RESULT_FREE)


def test_the_schema_versions_agree() -> None:
    assert int(schema.SCHEMA_VERSION) == parts.SCHEMA_VERSION


def test_the_types_of_facts_in_the_condition_of_a_search_agree() -> None:
    booleans = {name for name, kind in schema.FACTS.items() if pa.types.is_boolean(kind)}
    assert set(search.BOOLEAN_FACTS) == booleans
    for name in search.NUMBER_FACTS:
        kind = schema.FACTS[name]
        assert pa.types.is_integer(kind) or pa.types.is_floating(kind)


def test_the_accuracy_thresholds_agree() -> None:
    assert tuple(grokking.THRESHOLDS) == tuple(thresholds.PERCENTS)


def test_the_names_of_store_files_agree() -> None:
    for name in ("runs-000001.parquet", "curves-000001-0000.parquet"):
        assert part.STORE_NAME.fullmatch(name)
        assert listing.STORE_NAME.fullmatch(name)
    for name in ("../runs-1.parquet", "runs.parquet", "curves-1-2-3.parquet", "runs-1.parquet.x"):
        assert not part.STORE_NAME.fullmatch(name)
        assert not listing.STORE_NAME.fullmatch(name)
