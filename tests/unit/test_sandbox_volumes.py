"""The sizes of the sandbox's volumes."""

import pytest

from sandbox.cluster.volumes import gibibytes


@pytest.mark.parametrize(
    ("quantity", "size"),
    [("1Gi", 1), ("1500Mi", 2), ("10G", 10), ("1", 1), ("1.5Gi", 2), ("2Ti", 2048), ("1k", 1)],
)
def test_volume_is_as_large_as_its_claim_asks_for_in_whole_gibibytes(
    quantity: str, size: int
) -> None:
    assert gibibytes(quantity) == size


@pytest.mark.parametrize("quantity", ["1e9", "1Xi", "", "-1Gi"])
def test_quantity_of_another_form_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="no quantity that is known here"):
        gibibytes(quantity)
