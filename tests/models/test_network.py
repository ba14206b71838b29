"""Networks: every recipe's is built, takes photos, learns where it should; weights come from files of tensors only."""

import pickle
import socket
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.tiny_run import tiny_settings
from torch import nn

from bintally.domain.classes import CountClasses
from bintally.errors import SettingsError, WeightsError
from bintally.models.checkpoint import build_network
from bintally.models.network import CountNetwork, SmallCNN, check_hub_weights, check_photos_fit, load_backbone
from bintally.settings import ModelSettings
from bintally.training.module import CountModule, make_optimiser
from bintally.training.recipes import recipe_names

CLASSES = CountClasses(low=0, high=3, open_ended=True)
SHARED_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights" / "mobilenetv2_100-imagenet.safetensors"


def photos(number: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (number, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def recipe_network(recipe: str) -> CountNetwork:
    torch.manual_seed(0)
    return build_network(tiny_settings("model.pretrained=false", recipe=recipe), CLASSES)


def network_of(backbone: str, **settings: object) -> CountNetwork:
    return CountNetwork(ModelSettings(backbone=backbone, **settings), classes=4, mean=(0.5,) * 3, std=(0.5,) * 3)  # type: ignore[arg-type]


def step(network: CountNetwork, recipe: str) -> float:
    """One step of the recipe's own optimiser on one batch."""
    settings = tiny_settings("model.pretrained=false", recipe=recipe)
    module = CountModule(network, CLASSES, settings)
    module.log = lambda *_args, **_options: None  # type: ignore[method-assign,assignment]
    optimiser = make_optimiser(network, settings.optimiser)
    module.train()
    loss = module.training_step((photos(), torch.tensor([0, 2, 3])), 0)
    loss.backward()
    optimiser.step()
    return loss.item()


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("recipe", recipe_names())
class TestEveryRecipe:
    def test_it_gives_one_logit_per_class(self, recipe: str) -> None:
        network = recipe_network(recipe).eval()
        with torch.inference_mode():
            logits = network(photos())
        assert logits.shape == (3, 4)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()

    def test_a_step_changes_what_should_move_and_only_that(self, recipe: str) -> None:
        network = recipe_network(recipe)
        before = state(network)
        step(network, recipe)
        changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        model = tiny_settings(recipe=recipe).model
        if model.frozen:
            assert changed == {"head.weight", "head.bias"}
        else:
            learning = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
            unmoved = {name for name, weight in learning.items() if name not in changed and weight.grad.any()}  # type: ignore[union-attr]
            assert not unmoved
            assert {"head.weight", "head.bias"} < changed
            assert any("running_mean" in name for name in changed) is not model.frozen_norms
            assert len(changed) > (len(learning) if model.frozen_norms else len(before)) / 2
            if model.frozen_stages:
                assert len(learning) < len(list(network.parameters()))


def test_only_the_course_recipe_is_frozen() -> None:
    assert [name for name in recipe_names() if tiny_settings(recipe=name).model.frozen] == ["course"]


def test_a_frozen_backbone_stays_in_inference_mode() -> None:
    network = recipe_network("course").train()
    assert network.head.training
    assert not any(module.training for module in network.backbone.modules())
    assert not any(weight.requires_grad for weight in network.backbone.parameters())


def test_frozen_norms_keep_their_statistics_and_learn_the_rest() -> None:
    torch.manual_seed(0)
    network = build_network(
        tiny_settings("model.pretrained=false", "model.frozen_norms=true", recipe="mobilenetv2"), CLASSES
    )
    before = state(network)
    step(network, "mobilenetv2")
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not any("running" in name or "tracked" in name for name in changed)
    assert {"backbone.bn1.weight", "backbone.bn1.bias", "backbone.conv_stem.weight", "head.weight"} <= changed


def test_frozen_stages_stay_as_they_came() -> None:
    torch.manual_seed(0)
    network = build_network(
        tiny_settings("model.pretrained=false", "model.frozen_stages=2", recipe="mobilenetv2"), CLASSES
    )
    before = state(network)
    step(network, "mobilenetv2")
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    early = ("backbone.conv_stem", "backbone.bn1", "backbone.blocks.0.")
    assert {name for name in before if name.startswith(early)} & changed == set()
    assert {"backbone.blocks.1.0.bn1.running_mean", "backbone.blocks.1.0.conv_pw.weight"} <= changed


@pytest.mark.parametrize(
    ("backbone", "stages", "said"),
    [("mobilenetv2_050", 8, "has 8 stages, of which one must learn; got 8"), ("smallcnn", 1, "has no stages")],
)
def test_stages_that_cannot_be_frozen_are_refused(backbone: str, stages: int, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        network_of(backbone, frozen_stages=stages)


def test_normalising_is_part_of_the_network() -> None:
    network = network_of("smallcnn").eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 32, 32, 3))
    assert seen[0].shape == (2, 3, 32, 32)
    assert seen[0].amin((1, 2, 3)).tolist() == pytest.approx([-1, 1])
    assert seen[0].amax((1, 2, 3)).tolist() == pytest.approx([-1, 1])


def test_channels_stay_red_green_blue() -> None:
    network = CountNetwork(ModelSettings(backbone="smallcnn"), classes=2, mean=(0.1, 0.2, 0.3), std=(1, 1, 1)).eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    photo = torch.tensor([51, 102, 204], dtype=torch.uint8).expand(1, 32, 32, 3)
    network(photo)
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([0.2 - 0.1, 0.4 - 0.2, 0.8 - 0.3], abs=1e-4)


def test_the_small_cnn_is_small() -> None:
    assert sum(weight.numel() for weight in SmallCNN().parameters()) < 1_300_000


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "convnext_atto", "efficientnet_lite0"])
def test_other_backbones_of_timm_fit_the_head(backbone: str) -> None:
    with torch.inference_mode():
        assert network_of(backbone).eval()(photos(1)).shape == (1, 4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backbone": "resnet51"}, r"expected 'smallcnn' or a timm model, got 'resnet51'.*resnet"),
        ({"backbone": ""}, "expected 'smallcnn' or a timm model"),
        ({"backbone": "resnet18.nobody_made_this"}, "nobody_made_this"),
        ({"backbone": "resnet18", "pad_type": "same"}, "'resnet18' cannot be built with .*pad_type"),
    ],
    ids=["unknown", "empty", "unknown weights", "no padding to choose"],
)
def test_a_backbone_that_cannot_be_built_is_a_settings_error(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        network_of(**settings)


@pytest.mark.parametrize("backbone", ["smallcnn", "resnet18", "mobilenetv2_035"])
def test_norms_over_all_processes_change_nothing_else(backbone: str) -> None:
    """Some of timm's norms hold an activation, which torch's own conversion drops."""
    torch.manual_seed(0)
    network = network_of(backbone).eval()
    before, weights = network(photos()), state(network)
    network.sync_norms()
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in network.modules())
    assert torch.equal(network.eval()(photos()), before)
    assert state(network).keys() == weights.keys()


def test_photos_that_a_backbone_cannot_look_at_are_refused_at_once() -> None:
    network = network_of("vit_tiny_patch16_224")
    check_photos_fit(network, 224)
    with pytest.raises(SettingsError, match=r"cannot look at photos of 128 px \(.*224.*change data.side_px"):
        check_photos_fit(network, 128)
    assert network.training


class TestWeightsFiles:
    @pytest.fixture(params=["safetensors", "pth"])
    def suffix(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def write(self, path: Path, tensors: dict[str, torch.Tensor]) -> Path:
        if path.suffix == ".safetensors":
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        else:
            torch.save(tensors, path)
        return path

    @pytest.mark.parametrize("recipe", ["resnet50", "resnet101"])
    def test_the_benchmarks_load_them_and_take_a_step(self, recipe: str, suffix: str, tmp_path: Path) -> None:
        donor = timm.create_model(recipe, num_classes=7)  # with a classifier, as published weights have
        torch.manual_seed(1)
        for tensor in donor.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.01)
        path = self.write(tmp_path / f"weights.{suffix}", donor.state_dict())
        network = recipe_network(recipe)
        load_backbone(network, path)
        loaded = state(network.backbone)
        wanted = donor.state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.items())
        assert set(wanted) - set(loaded) == {"fc.weight", "fc.bias"}
        assert 0 < step(network, recipe) < 20
        assert not torch.equal(network.backbone.state_dict()["conv1.weight"], loaded["conv1.weight"])

    def test_what_is_missing_is_named(self, suffix: str, tmp_path: Path) -> None:
        network = network_of("resnet18")
        tensors = state(network.backbone)
        del tensors["layer1.0.conv1.weight"]
        path = self.write(tmp_path / f"weights.{suffix}", tensors)
        with pytest.raises(WeightsError, match=r"weights\.\w+: .*1 missing \['layer1\.0\.conv1\.weight'\]"):
            load_backbone(network, path)

    def test_weights_of_another_backbone_are_refused_and_change_nothing(self, suffix: str, tmp_path: Path) -> None:
        path = self.write(tmp_path / f"weights.{suffix}", state(network_of("resnet18").backbone))
        network = network_of("mobilenetv2_050")
        before = state(network)
        with pytest.raises(WeightsError, match=r"missing .*unknown .*model\.backbone=NAME"):
            load_backbone(network, path)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    def test_another_shape_is_refused(self, suffix: str, tmp_path: Path) -> None:
        network = network_of("resnet18")
        tensors = {**state(network.backbone), "conv1.weight": torch.zeros(64, 1, 7, 7)}
        path = self.write(tmp_path / f"weights.{suffix}", tensors)
        with pytest.raises(WeightsError, match=r"1 of another shape \['conv1\.weight'\]"):
            load_backbone(network, path)

    def test_what_a_backbone_keeps_under_head_is_no_classifier(self, suffix: str, tmp_path: Path) -> None:
        donor = network_of("convnext_atto")
        nn.init.constant_(donor.backbone.head.norm.weight, 3.0)  # type: ignore[union-attr,arg-type]
        tensors = {**state(donor.backbone), "head.fc.weight": torch.zeros(1000, 320)}
        network = network_of("convnext_atto")
        load_backbone(network, self.write(tmp_path / f"weights.{suffix}", tensors))
        assert torch.equal(network.backbone.state_dict()["head.norm.weight"], torch.full((320,), 3.0))

    @pytest.mark.parametrize(
        "data", [b"", b"hello, these are weights", b"h\x00", b"\x80\x02.", b"PK\x03\x04 no zip", b"\x00" * 100],
        ids=["empty", "text", "unpickler stumbles", "empty pickle", "broken zip", "zeros"],
    )  # fmt: skip
    def test_a_file_of_anything_else_is_refused(self, data: bytes, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"weights.{suffix}"
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=f"weights.{suffix}"):
            load_backbone(network_of("smallcnn"), path)

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.safetensors", tmp_path):
            with pytest.raises(WeightsError, match=f"{path}: no such weights file"):
                load_backbone(network_of("smallcnn"), path)

    @pytest.mark.parametrize("protocol", [0, 2, 4])
    @pytest.mark.parametrize("wrap", [False, True], ids=["bare pickle", "torch.save"])
    def test_code_in_a_pickle_never_runs(self, protocol: int, wrap: bool, tmp_path: Path) -> None:
        path, touched = tmp_path / "weights.pth", tmp_path / "touched"
        payload = _Payload(touched)
        if wrap:
            torch.save(payload, path, pickle_protocol=max(2, protocol))
        else:
            path.write_bytes(pickle.dumps(payload, protocol=protocol))
        with pytest.raises(WeightsError, match=r"weights\.pth"):
            load_backbone(network_of("smallcnn"), path)
        assert not touched.exists()
        pickle.loads(pickle.dumps(payload))  # noqa: S301 - shows that the payload would have worked
        assert touched.exists()

    def test_a_pickle_of_other_things_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        for value in ([1, 2], {"epoch": 3, "conv1.weight": torch.zeros(1)}):
            torch.save(value, path)
            with pytest.raises(WeightsError, match="expected a state dict of tensors"):
                load_backbone(network_of("smallcnn"), path)


class _Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


class TestHub:
    @pytest.mark.parametrize(
        "error", [OSError("no route"), RuntimeError("no weights"), LookupError("odd"), ConnectionError()], ids=repr
    )
    def test_whatever_the_hub_says_the_error_says_what_to_do(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(timm, "create_model", fail)
        with pytest.raises(WeightsError, match=r"'resnet50'.*--weights FILE.*model\.pretrained=false") as caught:
            build_network(tiny_settings(recipe="resnet50"), CLASSES, hub=True)
        assert caught.value.__cause__ is error

    @pytest.mark.parametrize("recipe", ["resnet50", "resnet101"])
    def test_where_no_hub_can_be_reached(self, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The real way to the hub, with the network cut off below it."""

        def unreachable(*_: object, **__: object) -> None:
            raise OSError("network is unreachable")

        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(socket, "getaddrinfo", unreachable)
        monkeypatch.setattr(socket.socket, "connect", unreachable)
        monkeypatch.setattr("time.sleep", lambda _: None)
        with pytest.raises(WeightsError, match="--weights FILE"):
            build_network(tiny_settings(recipe=recipe), CLASSES, hub=True)

    @pytest.mark.parametrize("recipe", ["course", "mobilenetv2", "flagship"])
    def test_settings_for_other_weights_are_refused(self, recipe: str) -> None:
        settings = tiny_settings(recipe=recipe)
        with pytest.raises(
            SettingsError, match=r"not made for timm's weights of 'mobilenetv2_100'.*--weights FILE"
        ) as no:
            check_hub_weights(settings.model, settings.data.mean, settings.data.std)
        changes = [word for word in str(no.value).split() if "." in word and "=" in word]
        assert changes == ["model.pad_type=", "data.mean=[0.485,0.456,0.406]", "data.std=[0.229,0.224,0.225]"]
        settings = tiny_settings(*changes, recipe=recipe)
        check_hub_weights(settings.model, settings.data.mean, settings.data.std)

    @pytest.mark.parametrize("recipe", ["resnet50", "resnet101"])
    def test_settings_for_the_hubs_weights_are_not(self, recipe: str) -> None:
        settings = tiny_settings(recipe=recipe)
        check_hub_weights(settings.model, settings.data.mean, settings.data.std)

    def test_the_hub_is_not_asked_unless_told_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        real = timm.create_model

        def spy(*arguments: object, **options: object) -> nn.Module:
            asked.append(options["pretrained"])
            return real(*arguments, **{**options, "pretrained": False})

        monkeypatch.setattr(timm, "create_model", spy)
        build_network(tiny_settings(recipe="mobilenetv2"), CLASSES)
        build_network(tiny_settings(recipe="mobilenetv2"), CLASSES, hub=True)
        assert asked == [False, True]


@pytest.mark.skipif(not SHARED_WEIGHTS.is_file(), reason="the weights that lie beside the project are not here")
@pytest.mark.parametrize("recipe", ["mobilenetv2", "course"])
def test_the_weights_beside_the_project_fit(recipe: str) -> None:
    network = recipe_network(recipe)
    before = state(network)
    load_backbone(network, SHARED_WEIGHTS)
    after = network.state_dict()
    assert not torch.equal(after["backbone.conv_stem.weight"], before["backbone.conv_stem.weight"])
    assert torch.equal(after["head.weight"], before["head.weight"])
    assert 0 < step(network, recipe) < 10


def test_photos_are_enlarged_inside_the_network() -> None:
    network = network_of("smallcnn", enlarged_px=48).eval()
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    halves = torch.zeros((1, 32, 32, 3), dtype=torch.uint8)
    halves[:, :, 16:] = 255
    network(halves)
    assert seen[0].shape == (1, 3, 48, 48)
    row = seen[0][0, 0, 24]
    torch.testing.assert_close((row[:23], row[25:]), (torch.full((23,), -1.0), torch.full((23,), 1.0)))
    assert row.diff().min() >= 0, "bilinear: it rises from black to white and does not overshoot"
