"""The playground: its algorithm is the library's, it trains in a page, links restore it, all can use it."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browsing import LAPTOP, PHONE
from helpers import points
from torch import nn

from minigan import ALGANFeature, data, metrics

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "book" / "_static"
PAGE = "book/playground"

# ---------------------------------------------------------------------- the algorithm, beside the library's

B, Z = 12, 5  # points in a batch, dimensions of the latent vector
SHARED = {"sigma": 3.0, "xi": 0.6, "width": 8, "z_dim": Z, "batch_size": B, "lr_G": 1e-3, "lr_D": 2e-3}
KINDS = {
    "ALGAN": {"alpha": 0.75, "buffer_batches": 2},
    "plain GAN": {"alpha": 1.0, "buffer_batches": 0},
}
# algan.js writes the same names in the manner of JavaScript.
IN_JS = {name: name for name in ("sigma", "xi", "width", "alpha")} | {
    "z_dim": "zDim",
    "batch_size": "batchSize",
    "lr_G": "lrG",
    "lr_D": "lrD",
    "batch_norm": "batchNorm",
    "buffer_batches": "bufferBatches",
}


@pytest.fixture(scope="module")
def algan_js(browser):
    """An empty page with TensorFlow.js and the scripts that need no page."""
    page = browser.new_page()
    page.add_script_tag(path=STATIC / "vendor" / "tfjs" / "tf.es2017.min.js")
    for name in ("points", "algan", "state"):
        page.add_script_tag(path=STATIC / "playground" / f"{name}.js")
    page.evaluate("tf.setBackend('cpu')")
    yield page
    page.close()


# Makes a detector with the library's weights, trains it with the given steps, and looks at it after each.
IN_THE_BROWSER = """({points, settings, G, D, vectors, steps, places, z}) => {
    const gan = new Algan.ALGAN(points, settings);
    const put = (parameters, values) => parameters.forEach((p, i) => p.assign(tf.tensor(values[i], p.shape)));
    put(gan.G.parameters, G);
    put(gan.D.parameters, D);
    gan.D.linears.forEach((layer, i) => {
        [layer.u, layer.v] = vectors[i].map((vector) => Float32Array.from(vector));
    });
    const statistics = gan.G.norms.flatMap((norm) => [norm.mean, norm.variance]);
    const get = (parameters) => parameters.flatMap((p) => [...p.dataSync()]);
    const look = () => ({G: get(gan.G.parameters), D: get(gan.D.parameters), scores: [...gan.score(places)],
                         fakes: gan.fakes(z), statistics: get(statistics)});
    const seen = [look()];
    for (const {x, zD, zG, buffered} of steps) {
        const rest = buffered && [...buffered];
        const losses = gan.trainingStep(x, zD, zG, rest && (() => rest.shift()));
        seen.push({...losses, ...look()});
    }
    return seen;
}"""


class Given:
    """A buffer that returns the batches that it was given, and forgets the rest."""

    def __init__(self, batches):
        self.batches = list(batches)

    def __bool__(self):
        return bool(self.batches)

    def sample(self, n):
        return self.batches.pop(0)

    def add(self, new):
        pass


def lists(tensors) -> list[list[float]]:
    return [tensor.detach().flatten().tolist() for tensor in tensors]


def linears(D: nn.Module) -> list[nn.Linear]:
    return [layer for layer in D if isinstance(layer, nn.Linear)]


def parameters_of_D(detector: ALGANFeature) -> list[torch.Tensor]:
    """In the order of algan.js: of each layer the weight before its normalisation, and the bias."""
    return [p for layer in linears(detector.D) for p in (layer.parametrizations.weight.original, layer.bias)]


@torch.no_grad()
def look(detector: ALGANFeature, places: torch.Tensor, z: torch.Tensor) -> dict:
    """What `look` of IN_THE_BROWSER returns, from the library."""
    norms = [layer for layer in detector.G if isinstance(layer, nn.BatchNorm1d)]
    G, D = copy.deepcopy((detector.G, detector.D))
    D.eval()
    G.train(detector.batch_norm == "batch")
    return {
        "G": sum(lists(detector.G.parameters()), []),
        "D": sum(lists(parameters_of_D(detector)), []),
        "scores": (-D(detector.standardize(places))).tolist(),
        "fakes": detector.standardize.undo(G(z)).tolist(),
        "statistics": [
            v for norm in norms for v in (*norm.running_mean.tolist(), *norm.running_var.tolist())
        ],
    }


def started(settings: dict, real: torch.Tensor) -> ALGANFeature:
    """A detector just before its first step on these points."""
    detector = ALGANFeature(**settings, progress=False)
    detector._start((2,))
    detector.batch_size_, detector.steps_per_epoch_ = B, 1
    detector._set_mode(training=True)
    detector.standardize.fit(real)
    return detector


def trained(detector: ALGANFeature, steps: list[dict]) -> Iterator[dict]:
    """The losses after each step of the library."""
    for epoch, step in enumerate(steps, start=1):
        detector.epoch_, detector.step_ = epoch, 0
        detector.z_d, detector.z_g = step["zD"][None], step["zG"][None]
        detector.buffer = Given(step["buffered"] or []) if detector.buffer_batches else None
        losses = detector.training_step(step["x"])
        yield {"lossD": losses["loss_D"].item(), "lossG": losses["loss_G"].item()}


def as_json(step: dict) -> dict:
    """A step as algan.js takes it: points as rows, latents one after the other."""
    latents = {name: step[name].flatten().tolist() for name in ("zD", "zG")}
    buffered = step["buffered"] and [batch.tolist() for batch in step["buffered"]]
    return {"x": step["x"].tolist(), "buffered": buffered, **latents}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_norm", ["none", "batch", "running"])
def test_scores_and_updates_are_the_librarys(algan_js, kind, batch_norm):
    generator = torch.Generator().manual_seed(1)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    settings = SHARED | KINDS[kind] | {"batch_norm": batch_norm}
    real = torch.from_numpy(points(40, seed=3) * [2, 0.5] + [1, 0]).float()
    detector = started(settings, real)
    places, z = 3 * noise(9, 2), 2 * noise(20, Z)
    steps = []
    for buffered in (None, [noise(B, 2), noise(B, 2)]):  # as in the first epoch, and as in a later one
        x = detector.standardize(real[torch.randperm(40, generator=generator)[:B]])
        shown = buffered if kind == "ALGAN" else None
        steps.append({"x": x, "zD": 3 * noise(B, Z), "zG": noise(B, Z), "buffered": shown})
    norms = [layer.parametrizations.weight[0] for layer in linears(detector.D)]
    given = {
        "points": real.tolist(),
        "settings": {IN_JS[name]: value for name, value in settings.items()},
        "G": lists(detector.G.parameters()),
        "D": lists(parameters_of_D(detector)),
        "vectors": [lists((norm._u, norm._v)) for norm in norms],
        "places": places.tolist(),
        "z": z.flatten().tolist(),
        "steps": list(map(as_json, steps)),
    }
    theirs = [look(detector, places, z)]
    theirs += [losses | look(detector, places, z) for losses in trained(detector, steps)]

    ours = algan_js.evaluate(IN_THE_BROWSER, given)
    for step, (found, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert found.keys() == expected.keys()
        for name in expected:
            near = 1e-6 if name == "statistics" else 1e-4  # they change by a part of a small variance
            message = f"{name} after step {step}"
            np.testing.assert_allclose(found[name], expected[name], atol=near, rtol=near, err_msg=message)
    moved = np.subtract(theirs[2]["G"], theirs[0]["G"])
    assert np.abs(moved).max() > 1e-3  # an update changes much more than the tolerance


def test_latents_are_algans_mixture(algan_js):
    z = algan_js.evaluate(
        """() => {
            const gan = new Algan.ALGAN(Points.toy("cloud", 40, 0), {sigma: 4, zDim: 50, width: 2});
            return [gan.latents(2000, 0.75), gan.latents(500)].map((z) => [...z]);
        }"""
    )
    mixed, normal = (np.reshape(part, (-1, 50)) for part in z)
    spread = mixed.std(1)
    assert (spread > 2).mean() == pytest.approx(0.25, abs=0.03)
    assert mixed[spread > 2].std() == pytest.approx(4, rel=0.02)
    assert mixed[spread < 2].std() == pytest.approx(1, rel=0.02)
    assert normal.std() == pytest.approx(1, rel=0.02) and abs(normal.mean()) < 0.02


def test_latents_change_every_second_epoch_and_the_buffer_waits_for_the_second(algan_js):
    drawn, buffered = algan_js.evaluate(
        """() => {
            const gan = new Algan.ALGAN(Points.toy("cloud", 40, 0), {batchSize: 20, width: 2, zDim: 2});
            const given = [];
            const step = gan.trainingStep;
            gan.trainingStep = function (rows, zD, zG, draw) {
                given.push([[zD[0], zG[0], rows[0][0]].join(), draw !== null]);
                return step.call(this, rows, zD, zG, draw);
            };
            for (let i = 0; i < 10; i++) gan.step(); // five epochs of two batches
            return [given.map(([z]) => z.split(",").slice(0, 2).join()), given.map(([, draw]) => draw)];
        }"""
    )
    epochs = [tuple(drawn[i : i + 2]) for i in range(0, 10, 2)]
    assert epochs[1] == epochs[2] and epochs[3] == epochs[4]
    assert len(set(epochs)) == 3 and len(set(drawn)) == 6
    assert buffered == 2 * [False] + 8 * [True]


def test_the_buffer_keeps_earlier_fakes_and_gives_none_twice(algan_js):
    kept, sample = algan_js.evaluate(
        """() => {
            const gan = new Algan.ALGAN(Points.toy("cloud", 40, 0), {batchSize: 10, width: 2});
            const rows = (from) => Array.from({length: 10}, (_, i) => [from + i, 0]);
            for (const from of [0, 100, 200]) gan.buffer.add(rows(from));
            return [gan.buffer.rows, gan.buffer.sample(15)].map((list) => list.map(([x]) => x));
        }"""
    )
    assert len(kept) == len(set(kept)) == 20  # two batches
    assert sum(x >= 200 for x in kept) == 10 and sum(x < 100 for x in kept) > 0
    assert len(set(sample)) == 15 and set(sample) <= set(kept)


def test_a_hostile_link_is_read_as_the_nearest_settings(algan_js):
    text = "#points=<b>x</b>&seed=-5&sigma=1e9&alpha=NaN&lr_G=junk&buffer=2.4&drawn=%3Cscript%3E&x=y"
    assert algan_js.evaluate("PlaygroundState.parse", text) == {
        "points": "cloud",
        "seed": 0,
        "sigma": 8,
        "alpha": 0.75,
        "buffer": 2,
        "lr_G": 0.001,
        "lr_D": 0.001,
        "batch_norm": "none",
        "own": [],
    }
    headings = ["#three-things-to-try", "#", "", "#xpoints=moons"]
    assert not any(algan_js.evaluate("PlaygroundState.isState", heading) for heading in headings)


def test_a_link_carries_drawn_points(algan_js):
    own = np.random.default_rng(0).uniform(-2, 2, (700, 2)).tolist()
    state = {"points": "own", "seed": 7, "sigma": 2.5, "alpha": 1, "buffer": 0, "own": own}
    state |= {"lr_G": 0.0005, "lr_D": 0.005, "batch_norm": "running"}
    roundtrip = "(state) => PlaygroundState.parse('#' + PlaygroundState.format(state))"
    back = algan_js.evaluate(roundtrip, state)
    np.testing.assert_allclose(back["own"], own[:600], atol=0.001)  # not more than a link should carry
    assert back | {"own": own} == state
    again = algan_js.evaluate(roundtrip, back)
    assert again == back  # to the last bit, or the result would change from link to link


def test_sets_and_metrics_are_the_librarys(algan_js):
    normal, anomalous = [0.1, 0.4, 0.4, 0.9], [0.4, 0.9, 1.5]
    found = algan_js.evaluate(
        "([a, b]) => [Points.auroc(a, b), Points.quantile(a, 0.8)]", [normal, anomalous]
    )
    labels = [0] * len(normal) + [1] * len(anomalous)
    assert found == pytest.approx([metrics.auroc(labels, normal + anomalous), np.quantile(normal, 0.8)])
    for ours, theirs in (("cloud", "normal"), ("eight", "eight"), ("moons", "moons")):
        a = np.array(algan_js.evaluate("(name) => Points.toy(name, 4000, 5)", ours))
        b = data.toy(theirs, 4000, seed=5)
        np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.1)
        for measure in (lambda p: p[:, 0], lambda p: p[:, 1], lambda p: np.hypot(*p.T)):
            quantiles = [np.quantile(measure(p), np.linspace(0.05, 0.95, 7)) for p in (a, b)]
            np.testing.assert_allclose(*quantiles, atol=0.2)


# ---------------------------------------------------------------------- the page


def opened(visit, page_name: str = PAGE, size: dict = LAPTOP, fragment: str = "", **options):
    """A page whose playground is ready; with reduced motion, pictures change only once a second."""
    page = visit(page_name, size, fragment, **{"reduced_motion": "reduce"} | options)
    page.locator(".pg-play").first.wait_for()
    return page


def train(page, steps: int) -> None:
    """Train without the wait for pictures."""
    page.evaluate(
        """(n) => { const {playground} = document.querySelector(".playground");
                    for (let i = 0; i < n; i++) playground.train(); playground.draw(); }""",
        steps,
    )


def aurocs(page) -> dict[str, float]:
    """What the page says of the ring."""
    names = page.locator(".pg-panel .pg-name").all_inner_texts()
    values = page.locator(".pg-panel .pg-auroc").all_inner_texts()
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def pictures(page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.pg-plane')].map((canvas) => canvas.toDataURL())")


def step(page) -> int:
    return int(page.locator(".pg-steps").inner_text())


SEED, N_STEPS = 0, 256


def test_it_waits_then_trains_and_algan_rejects_the_ring(visit):
    page = opened(visit, fragment=f"#points=cloud&seed={SEED}")
    assert step(page) == 0  # nothing moves before someone asks for it
    before = pictures(page)
    play = page.get_by_role("button", name="Play")
    play.press("Enter")
    page.wait_for_function("document.querySelector('.playground').playground.steps >= 20", timeout=120_000)
    page.get_by_role("button", name="Pause").press("Enter")
    at = step(page)
    page.wait_for_timeout(200)
    assert step(page) == at >= 20  # it stays where it was paused
    assert all(a != b for a, b in zip(before, pictures(page), strict=True))

    train(page, N_STEPS - at)
    assert step(page) == N_STEPS
    found = aurocs(page)
    assert found["ALGAN"] > 0.95
    assert found["Plain GAN"] < found["ALGAN"] - 0.2
    heard = page.locator(".pg-aurocs").get_attribute("aria-label")
    assert f"after {N_STEPS} steps" in heard and f"ALGAN {found['ALGAN']:.2f}" in heard


# What one key makes of each slider.
SETTINGS = {"sigma": "4.5", "alpha": "0.8", "buffer": "3", "lr_G": "0.002", "lr_D": "0.002"}


def test_every_control_works_by_keyboard_and_the_link_restores_it_all(visit):
    page = opened(visit)
    start = pictures(page)
    page.locator(".pg-step").press("Enter")
    assert step(page) == 1
    page.locator(".pg-reset").press("Enter")
    assert step(page) == 0 and pictures(page) == start  # the same seed, the same start

    for name, value in SETTINGS.items():
        slider = page.locator(f"input[data-name={name}]")
        slider.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == value
        assert f"{name}={value}" in page.url
    page.locator("select[data-name=batch_norm]").press("ArrowDown")
    page.locator("input[data-name=seed]").fill("12")
    page.locator("input[data-name=seed]").press("Enter")
    assert "batch_norm=batch" in page.url and "seed=12" in page.url
    assert pictures(page) != start
    page.locator("select[data-name=points]").press("ArrowDown")
    assert "points=moons" in page.url

    # Drawing: a mark, points around it, points elsewhere.
    page.locator(".pg-draw").press("Enter")
    plane = page.locator(".pg-plane").first
    plane.press("Space")
    assert "points=own" in page.url and page.locator(".pg-play").is_disabled()
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowLeft"):
        plane.press(key)
        plane.press("Space")
    page.locator(".pg-draw").press("Enter")
    plane.press("ArrowDown")
    notes = page.locator(".pg-note").all_inner_texts()
    assert all("the threshold" in note and note.endswith(("normal.", "anomalous.")) for note in notes)
    assert notes[1] in page.locator(".playground [role=status]").inner_text()
    train(page, 12)

    other = opened(visit, fragment="#" + page.url.split("#")[1])
    train(other, 12)
    for name, value in {**SETTINGS, "seed": "12"}.items():
        assert f"{name}={value}" in other.url
        control = other.locator(f"input[data-name={name}]")
        assert value in (control.get_attribute("aria-valuetext"), control.input_value())
    chosen = other.locator("select").evaluate_all("(all) => all.map((select) => select.value)")
    assert chosen == ["own", "batch"]
    assert aurocs(other) == aurocs(page)
    weights = """document.querySelector(".playground").playground.gans.algan.D.parameters
                 .map((p) => [...p.dataSync()])"""
    assert other.evaluate(weights) == page.evaluate(weights)


def test_pointers_look_up_and_draw(visit):
    page = opened(visit, size=PHONE, has_touch=True)
    plane = page.locator(".pg-plane").last
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.touchscreen.tap(*middle)
    assert "At (0.0, " in page.locator(".pg-note").last.inner_text()
    page.locator(".pg-draw").click()
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=12)
    page.mouse.move(middle[0] + 60, middle[1] + 200, steps=5)  # out of the ring: nothing is drawn there
    page.mouse.up()
    own = np.array(page.evaluate("document.querySelector('.playground').playground.state.own"))
    assert len(own) >= 16 and np.hypot(*own.T).max() < 3.5
    assert page.locator(".pg-play").is_enabled()


def check_widths(page) -> None:
    """Nothing is wider than the screen, and nothing in the playground wider than it."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    widths = page.locator(".playground").evaluate("(place) => [place.scrollWidth, place.clientWidth]")
    assert widths[0] <= widths[1]


def test_the_page_is_for_everyone(visit):
    """Axe finds nothing, nothing is too wide, light on a laptop and dark on a phone; Tab finds controls."""
    page = opened(visit)
    for scheme, size in (("light", LAPTOP), ("dark", PHONE)):
        page.set_viewport_size(size)
        page.evaluate("(scheme) => { document.documentElement.dataset.theme = scheme; }", scheme)
        check_widths(page)
        # Without the preload it does not fetch the style sheets, which a page from a file may not do.
        found = Axe().run(page, ".playground", {"preload": False}).response
        wrong = [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found["violations"]]
        assert wrong == []
        assert len(found["passes"]) > 10
    controls = ":is(a, button, select, input, canvas[tabindex]):not([hidden])"
    number = page.locator(f".playground {controls}").count()
    page.locator(".pg-play").focus()
    seen = set()
    for _ in range(number):
        here = "[...document.querySelectorAll('.playground *')].indexOf(document.activeElement)"
        seen.add(page.evaluate(here))
        page.keyboard.press("Tab")
    assert -1 not in seen and len(seen) == number


@pytest.mark.parametrize(
    ("page_name", "kinds"), [("book/gan_2d", ["Plain GAN"]), ("book/algan_2d", ["Plain GAN", "ALGAN"])]
)
def test_embedded_playgrounds_train_and_lead_to_the_page(visit, page_name, kinds):
    page = opened(visit, page_name)
    assert list(aurocs(page)) == kinds
    check_widths(page)
    before = pictures(page)
    page.locator(".pg-step").press("Enter")
    assert step(page) == 1
    page.locator("input[data-name=seed]").fill("3")
    page.locator("input[data-name=seed]").press("Tab")
    assert pictures(page) != before
    page.locator(".pg-open").click()
    page.locator("select[data-name=batch_norm]").wait_for()
    assert "seed=3" in page.url and "playground.html" in page.url
    assert page.locator("input[data-name=seed]").input_value() == "3"
