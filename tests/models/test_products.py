"""bfloat16 products by float32's kernels: exact sums, rounded once, and nothing else touched."""

import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bdpo.models import products


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def assert_rounded_once(found: Tensor, exact: Tensor) -> None:
    """Half a unit of bfloat16's 8 bits, and what float32 loses in summing."""
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-5)


@given(
    rows=st.integers(0, 40),
    inner=st.integers(0, 40),
    columns=st.integers(0, 40),
    turned=st.booleans(),
    block=st.sampled_from([1, 7, 64, 2**22]),
)
def test_a_product_is_the_exact_one_rounded(rows: int, inner: int, columns: int, turned: bool, block: int) -> None:
    one = drawn(rows, inner)
    other = drawn(columns, inner, seed=1).t() if turned else drawn(inner, columns, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_BLOCK", block)
        found = products._mm(one, other)
        wide = products._wide_mm(one, other).bfloat16()
    assert found.shape == (rows, columns)
    exact = one.double() @ other.double()
    assert_rounded_once(wide, exact)
    if rows > products._FEW:
        assert torch.equal(found, wide)


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0.5, -2), (0, 3)])
@pytest.mark.parametrize("addend_shape", [(9,), (1, 9), (8, 9)])
def test_an_addend_is_scaled_and_broadcast(beta: float, alpha: float, addend_shape: tuple[int, ...]) -> None:
    one, other, addend = drawn(8, 5), drawn(5, 9, seed=1), drawn(*addend_shape, seed=2)
    exact = beta * addend.double() + alpha * (one.double() @ other.double())
    assert_rounded_once(products._addmm(addend, one, other, beta=beta, alpha=alpha), exact)
    many = products._baddbmm(addend, one.expand(2, 8, 5), other.expand(2, 5, 9), beta=beta, alpha=alpha)
    assert_rounded_once(many, exact.expand(2, 8, 9))


def test_a_beta_of_0_leaves_the_addend_out() -> None:
    one, other = drawn(8, 5), drawn(5, 9, seed=1)
    found = products._addmm(torch.full((9,), float("nan")).bfloat16(), one, other, beta=0)
    assert torch.equal(found, products._mm(one, other))


_WHOLE_PROCESS = """
    import warnings
    warnings.simplefilter("error")
    import torch
    from torch.nn.functional import linear
    from bdpo.models import products

    called = []
    for name in ("_mm", "_mm_out", "_addmm", "_bmm", "_baddbmm"):
        def noted(*given, _own=getattr(products, name), _name=name, **settings):
            called.append((_name, given[-1].dtype))
            return _own(*given, **settings)
        setattr(products, name, noted)
    products.cpu_is_fast_in_bfloat16 = lambda: False

    torch.manual_seed(0)
    x, w, b = torch.randn(2, 16, 32), torch.randn(24, 32), torch.randn(24)
    plain = linear(x, w, b)
    products.prepare_bfloat16_products()
    products.prepare_bfloat16_products()
    assert torch.equal(linear(x, w, b), plain), "float32 is what it was"

    def grads(x, w, b):
        x, w, b = (t.detach().requires_grad_() for t in (x, w, b))
        y = linear(x, w, b)
        z = torch.matmul(y, linear(x, w).transpose(1, 2))
        z.square().sum().backward()
        return z.detach(), x.grad, w.grad, b.grad

    called.clear()
    found = grads(*(t.bfloat16() for t in (x, w, b)))
    assert {n for n, d in called if d == torch.bfloat16} >= {"_mm", "_addmm", "_bmm"}, called
    exact = grads(*(t.bfloat16().double() for t in (x, w, b)))
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.bfloat16
        assert ((one.double() - other).norm() / other.norm()) < 2**-7
    with torch.inference_mode():
        assert torch.equal(torch.matmul(linear(x.bfloat16(), w.bfloat16(), b.bfloat16()),
                                        linear(x.bfloat16(), w.bfloat16()).transpose(1, 2)), found[0])
    one, other = x[0].bfloat16(), w.bfloat16().t()
    for dtype in (torch.float32, torch.bfloat16):
        several = torch.full((3, 16, 24), float("nan"), dtype=dtype)
        torch.mm(one.to(dtype), other.to(dtype), out=several[1])
        assert torch.equal(several[1], torch.mm(one.to(dtype), other.to(dtype)))
        assert several[::2].isnan().all(), "what lies beside is left alone"
        assert torch.equal(torch.mm(one.to(dtype), other.to(dtype), out=torch.empty(0, dtype=dtype)), several[1])
    assert ("_mm_out", torch.bfloat16) in called
    assert torch.equal(torch.ones(6, 2, dtype=torch.int64) @ torch.ones(2, 6, dtype=torch.int64),
                       torch.full((6, 6), 2))
    for wrong in ((x[0].bfloat16(), w.t()), (x[0].bfloat16(), w.bfloat16())):
        try:
            torch.mm(*wrong)
        except RuntimeError:
            continue
        raise AssertionError("factors that do not fit are refused as ever")
"""


def test_a_whole_process_multiplies_so() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_WHOLE_PROCESS)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr


@pytest.mark.parametrize(("amx", "intels", "fast"), [(True, True, True), (False, True, False), (False, False, True)])
def test_intels_avx512_alone_is_slow(amx: bool, intels: bool, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not products.cpu_is_fast_in_bfloat16()
        pytest.skip("this CPU has no instructions for bfloat16")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(products, "_is_intels", lambda: intels)
    assert products.cpu_is_fast_in_bfloat16() == fast
