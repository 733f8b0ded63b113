"""Every augmentation of the folder keeps the contract, and does what its name says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.batches import Batch
from lode.model.mixing import Changes, output_loss
from lode.testing.augment import check_augment, check_refuses_other_arrays

WORDS = REGISTRIES["augment"].names()
SPEC = TensorSpec("uint8", (9, 9, 1))


def _augment(word: str, options: dict[str, object], x: torch.Tensor) -> torch.Tensor:
    return REGISTRIES["augment"].create(Component(word, options), SPEC)(x, torch.Generator().manual_seed(0))


@pytest.fixture
def ramp() -> torch.Tensor:
    """Pictures that grow brighter from left to right."""
    return (torch.arange(9, dtype=torch.uint8) * 20).expand(32, 9, 9).unsqueeze(3).contiguous()


@pytest.mark.parametrize("word", WORDS)
def test_every_augmentation_keeps_the_contract(word: str, tmp_path: Path) -> None:
    (tmp_path / "alike.txt").write_text(",".join(f"w{code}" for code in range(2, 30)), encoding="utf-8")
    check_augment(word, {"path": str(tmp_path / "alike.txt")} if word == "synonyms" else None)


@pytest.mark.parametrize("word", ["colour", "crop", "cutmix", "erase", "flip", "policy", "rotate", "shear", "zoom"])
def test_what_changes_pictures_takes_nothing_else(word: str) -> None:
    check_refuses_other_arrays(word)


def test_flip_mirrors_left_to_right(ramp: torch.Tensor) -> None:
    assert torch.equal(_augment("flip", {"share": 1.0}, ramp), ramp.flip(2))


def test_flip_never_mirrors_at_share_zero(ramp: torch.Tensor) -> None:
    assert torch.equal(_augment("flip", {"share": 0.0}, ramp), ramp)


def test_crop_moves_by_at_most_the_border(ramp: torch.Tensor) -> None:
    moved = _augment("crop", {"border": 2}, ramp)[:, 4, 4, 0].int()
    assert moved.min() >= 40 and moved.max() <= 120 and len(moved.unique()) > 2


def test_crop_fills_with_zeros_where_asked(ramp: torch.Tensor) -> None:
    moved = _augment("crop", {"border": 2, "fill": "zeros"}, ramp + 1)
    assert (moved == 0).any() and not (_augment("crop", {"border": 2}, ramp + 1) == 0).any()


def test_zoom_keeps_the_middle_and_changes_the_slope(ramp: torch.Tensor) -> None:
    zoomed = _augment("zoom", {"amount": 0.5}, ramp)
    assert (zoomed[:, :, 4] == 80).all()
    slope = (zoomed[:, 4, 5, 0].int() - zoomed[:, 4, 3, 0].int()) / 40
    assert slope.min() < 0.8 and slope.max() > 1.2 and (slope >= 0.45).all() and (slope <= 1.55).all()


def test_shear_moves_rows_sideways_in_proportion_to_their_height(ramp: torch.Tensor) -> None:
    sheared = _augment("shear", {"degrees": 30}, ramp)[:, :, 4, 0].int() - 80
    assert (sheared[:, 4].abs() <= 1).all()
    assert (sheared[:, 2] + sheared[:, 6]).abs().max() <= 1 and sheared[:, 2].abs().max() > 10


TEXTS = TensorSpec("int32", (8,), ragged=(0,), cardinality=10)


def _words(word: str, options: dict[str, object]) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of six different words and two places of padding, before and after."""
    x = torch.tensor([[2, 3, 4, 5, 6, 7, 0, 0]], dtype=torch.int32).repeat(400, 1)
    augment = REGISTRIES["augment"].create(Component(word, options), TEXTS)
    augment.read_words(["", "", "film", "movie", "picture", "good", "fine", "bad", "x", "y"])
    return x, augment(x, torch.Generator().manual_seed(0))


def test_drop_closes_the_gap_and_keeps_the_order() -> None:
    _, dropped = _words("drop", {"share": 0.3})
    lengths = (dropped != 0).sum(dim=1)
    assert 3.9 < lengths.float().mean() < 4.6
    for row in dropped[:50].tolist():
        kept = [code for code in row if code]
        assert kept == sorted(kept) and row == kept + [0] * (8 - len(kept))


def test_drop_leaves_a_word_and_an_empty_text() -> None:
    augment = REGISTRIES["augment"].create(Component("drop", {"share": 1.0}), TEXTS)
    x = torch.tensor([[5, 6, 7, 0, 0, 0, 0, 0], [0] * 8], dtype=torch.int32)
    dropped = augment(x, torch.Generator().manual_seed(0))
    assert (dropped != 0).sum(dim=1).tolist() == [1, 0] and dropped[0, 0] in (5, 6, 7)


def test_swap_exchanges_neighbours_only() -> None:
    x, swapped = _words("swap", {"share": 1.0})
    assert torch.equal(swapped.sort(dim=1)[0], x.sort(dim=1)[0]) and (swapped[:, 6:] == 0).all()
    assert set(map(tuple, swapped[:, :6].tolist())) == {(3, 2, 5, 4, 7, 6), (2, 4, 3, 6, 5, 7)}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_swap_takes_texts_of_a_word_or_two(steps: int) -> None:
    texts = torch.arange(2, steps + 2, dtype=torch.int32).repeat(4, 1)
    step = REGISTRIES["augment"].create(
        Component("swap", {"share": 1.0}), TensorSpec("int32", (steps,), ragged=(0,), cardinality=9)
    )
    changed = step(texts, torch.Generator().manual_seed(0))
    assert torch.equal(changed.sort(dim=1).values, texts)
    assert torch.equal(changed, texts) == (steps == 1)


def test_synonyms_stay_on_their_line(tmp_path: Path) -> None:
    (tmp_path / "alike.txt").write_text("film, movie\tpicture # nouns\ngood,fine,unheard\n\n", encoding="utf-8")
    x, replaced = _words("synonyms", {"share": 0.5, "path": str(tmp_path / "alike.txt")})
    assert set(replaced[:, 0].tolist()) == {2, 3, 4} and set(replaced[:, 3].tolist()) == {5, 6}
    assert torch.equal(replaced[:, 5:], x[:, 5:])
    assert 0.4 < (replaced[:, 0] != 2).float().mean() < 0.6


def test_synonyms_say_so_when_no_word_is_known(tmp_path: Path) -> None:
    (tmp_path / "alike.txt").write_text("chat, matou", encoding="utf-8")
    with pytest.raises(ModelError, match=r"no line of .* holds two words that the training texts have"):
        _words("synonyms", {"path": str(tmp_path / "alike.txt")})


def test_rotate_turns_about_the_middle_and_slants_nothing() -> None:
    spec = TensorSpec("float32", (9, 17, 1))
    x = torch.zeros(64, 9, 17, 1)
    x[:, 4, 4:13] = 1.0
    turned = REGISTRIES["augment"].create(Component("rotate", {"degrees": 90.0}), spec)(x, torch.Generator().manual_seed(0))[..., 0]
    assert torch.allclose(turned[:, 4, 8], torch.ones(64), atol=1e-5)
    upright = turned[:, :, 8].sum(dim=1)
    assert upright.max() > 6.0 and upright.min() < 2.0, "a line of nine pixels stays as long however it is turned"


def test_colour_keeps_pictures_where_no_change_is_asked(ramp: torch.Tensor) -> None:
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    assert torch.equal(_augment("colour", none, ramp), ramp)


def test_brightness_multiplies_and_contrast_keeps_the_mean(ramp: torch.Tensor) -> None:
    brighter = _augment("colour", {"brightness": 0.2, "contrast": 0.0, "saturation": 0.0}, ramp).float()
    ratio = brighter[:, 4, 4, 0] / 80
    assert ratio.min() < 0.9 and ratio.max() > 1.1 and torch.allclose(brighter[:, 4, 2, 0], 40 * ratio, atol=1.0)
    inner = ramp // 2 + 40
    harder = _augment("colour", {"brightness": 0.0, "contrast": 0.5, "saturation": 0.0}, inner).float()
    assert torch.allclose(harder.mean(dim=(1, 2, 3)), torch.full((32,), 80.0), atol=1.0)
    assert (harder[:, 4, 8, 0] - harder[:, 4, 0, 0]).std() > 5


def test_saturation_moves_colours_and_leaves_grey_pixels() -> None:
    spec = TensorSpec("float32", (2, 2, 3))
    x = torch.tensor([[90.0, 90.0, 90.0], [255.0, 0.0, 0.0]]).repeat(16, 2, 1, 1).transpose(1, 2)
    options = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.5}
    changed = REGISTRIES["augment"].create(Component("colour", options), spec)(x, torch.Generator().manual_seed(0))
    assert torch.allclose(changed[:, 0], x[:, 0], atol=1e-3) and changed[:, 1, :, 1].max() > 5


def test_erase_covers_a_square_with_the_average_colour(ramp: torch.Tensor) -> None:
    spec = TensorSpec("uint8", (9, 9, 1), offset=(7.0,), scale=(1.0,))
    erased = REGISTRIES["augment"].create(Component("erase", {"size": 0.34}), spec)(ramp, torch.Generator().manual_seed(0))
    covered = (erased == 7).sum(dim=(1, 2, 3))
    assert covered.max() == 9 and covered.min() >= 4 and ((erased == 7) | (erased == ramp)).all()
    assert torch.equal(_augment("erase", {"share": 0.0}, ramp), ramp)


def test_policy_draws_several_kinds_of_change(ramp: torch.Tensor) -> None:
    changed = _augment("policy", {"rounds": 1}, ramp)
    same = (changed == ramp).flatten(1).all(dim=1)
    assert 0 < same.sum() < 20, "one of twelve changes is none, and saturation leaves grey pictures"
    assert len(changed.flatten(1).unique(dim=0)) > 6


def test_affine_steps_in_a_row_move_every_pixel_once() -> None:
    spec = TensorSpec("float32", (16, 16, 1))
    steps = [REGISTRIES["augment"].create(Component(word), spec) for word in ("rotate", "zoom")]
    # Along a slope interpolation is exact, so that both ways agree wherever no edge is near
    x = (torch.arange(16.0)[:, None] + 2 * torch.arange(16.0)).expand(8, 16, 16).unsqueeze(3).contiguous()
    batch = Batch({"image": x}, {}, {}, 8)
    next(Changes({"image": steps})(iter([[batch]]), torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(0)
    apart = steps[1](steps[0](x, generator), generator)
    assert (batch.inputs["image"] - apart)[:, 5:11, 5:11].abs().max() < 1e-3
    assert (batch.inputs["image"] - x)[:, 5:11, 5:11].abs().max() > 0.1


def test_a_flip_among_other_moves_is_the_same_flip(ramp: torch.Tensor) -> None:
    steps = [
        REGISTRIES["augment"].create(Component("flip", {"share": 1.0, "direction": side}), SPEC) for side in ("horizontal", "both")
    ]
    batch = Batch({"image": ramp}, {}, {}, 32)
    next(Changes({"image": steps})(iter([[batch]]), torch.Generator().manual_seed(0)))
    assert torch.equal(batch.inputs["image"], ramp.flip(1)), "left and right changed twice, top and bottom once"


def test_pieces_of_a_batch_change_as_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randint(0, 256, (9, 12, 10, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for word in ("rotate", "colour", "policy"):
        augment = REGISTRIES["augment"].create(Component(word), TensorSpec("uint8", (12, 10, 3)))
        monkeypatch.setattr("lode.model.pieces._PIECE_NUMBERS", 1 << 20)
        whole = augment(x, torch.Generator().manual_seed(1))
        monkeypatch.setattr("lode.model.pieces._PIECE_NUMBERS", 2 * 12 * 10 * 3)
        assert torch.equal(augment(x, torch.Generator().manual_seed(1)), whole), word


def test_a_policy_changes_the_chosen_rows_as_if_it_changed_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor takes only the rows that something was drawn for, a GPU all of them."""
    x = torch.randint(0, 256, (40, 12, 10, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    augment = REGISTRIES["augment"].create(Component("policy"), TensorSpec("uint8", (12, 10, 3)))
    chosen = augment(x, torch.Generator().manual_seed(1))
    monkeypatch.setattr(
        "lode.model.augment.policy.by_kinds", lambda change, x, *asked: change(x, torch.arange(len(x)), *(True for _ in asked))
    )
    assert (augment(x, torch.Generator().manual_seed(1)).int() - chosen.int()).abs().max() <= 1


def _mixed(words: list[str], rows: int = 32) -> Batch:
    spec = TensorSpec("float32", (8, 8, 1))
    steps = [REGISTRIES["augment"].create(Component(word, {"strength": 1.0}), spec) for word in words]
    x = torch.arange(rows, dtype=torch.float32)[:, None, None, None].expand(rows, 8, 8, 1).contiguous()
    batch = Batch({"image": x}, {}, {}, rows)
    next(Changes({"image": steps})(iter([[batch]]), torch.Generator().manual_seed(3)))
    return batch


@pytest.mark.parametrize("words", [["mixup"], ["cutmix"], ["mixup", "cutmix"]])
def test_mixed_rows_hold_as_much_of_the_partner_as_the_share_says(words: list[str]) -> None:
    batch = _mixed(words)
    assert batch.mix is not None
    partner_B, share = batch.mix
    own = torch.arange(32.0)
    expected = share * own + (1 - share) * own[partner_B]
    assert torch.allclose(batch.inputs["image"].mean(dim=(1, 2, 3)), expected, atol=1e-4)
    assert not torch.equal(partner_B, torch.arange(32))


def test_two_ways_of_mixing_take_turns() -> None:
    spec = TensorSpec("float32", (8, 8, 1))
    steps = [REGISTRIES["augment"].create(Component(word, {"strength": 1.0}), spec) for word in ("mixup", "cutmix")]
    generator, cut = torch.Generator().manual_seed(0), []
    for _ in range(20):
        batch = Batch({"image": torch.arange(8.0)[:, None, None, None].expand(8, 8, 8, 1).contiguous()}, {}, {}, 8)
        next(Changes({"image": steps})(iter([[batch]]), generator))
        image = batch.inputs["image"]
        cut.append(bool((image == image.round()).all()))
    assert 0 < sum(cut) < 20


def test_the_loss_of_mixed_rows_is_shared_between_both_targets() -> None:
    task = REGISTRIES["task"].create(Component("multiclass"))
    task.fit(np.array(["a", "b", "c"] * 4, object))
    scores, target = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2, 1, 0])
    partner, share = torch.tensor([3, 0, 1, 5, 2, 4]), torch.tensor(0.7)
    batch = Batch({}, {"y": target}, {}, 6, (partner, share))
    by_hand = 0.7 * task.loss(scores, target) + 0.3 * task.loss(scores, target[partner])
    assert torch.allclose(output_loss(task, scores, batch, "y"), by_hand)
    members = scores.repeat_interleave(2, dim=0)
    assert torch.allclose(output_loss(task, members, batch, "y"), by_hand)


def test_mixed_rows_without_a_target_do_not_count() -> None:
    task = REGISTRIES["task"].create(Component("multiclass"))
    task.fit(np.array(["a", "b"] * 4, object))
    scores, target = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, -1, 1, 0])
    partner, keep = torch.tensor([1, 2, 3, 0]), torch.tensor([0, 2, 3])
    batch = Batch({}, {"y": target}, {"y": keep}, 4, (partner, torch.tensor(0.6)))
    known = target[partner] >= 0
    by_hand = 0.6 * task.loss(scores[keep], target[keep]) + 0.4 * task.loss(scores[known], target[partner][known])
    assert torch.allclose(output_loss(task, scores, batch, "y"), by_hand)


def test_mixup_draws_codes_from_both_rows() -> None:
    spec = TensorSpec("int32", (1000,), cardinality=3)
    mixup = REGISTRIES["augment"].create(Component("mixup", {"strength": 1.0}), spec)
    x = torch.tensor([[1], [2]], dtype=torch.int32).expand(2, 1000).contiguous()
    mixed, share = mixup.mix(x, torch.tensor([1, 0]), torch.Generator().manual_seed(0))
    assert mixed.dtype == torch.int32 and abs(float((mixed[0] == 1).float().mean()) - float(share)) < 0.06


def test_noise_is_measured_in_the_units_of_the_scaled_number() -> None:
    noise = REGISTRIES["augment"].create(
        Component("noise", {"deviation": 0.1}), TensorSpec("float32", (1,), scale=(0.01,), offset=(0.0,))
    )
    assert abs(float(noise(torch.zeros(4000, 1), torch.Generator().manual_seed(0)).std()) - 10.0) < 0.5
