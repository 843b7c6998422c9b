"""The interactive page of the gallery, in a browser: it shows what torchconv computes."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from torchconv import conv2d, conv2d_output_size

FOLDER = Path(__file__).parents[2] / "gallery" / "interactive"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}
CONTROL, END, RIGHT = "\ue009", "\ue010", "\ue014"  # selenium.webdriver.Keys
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-sync
--disable-component-update --no-first-run --hide-scrollbars --window-size=1200,1000""".split()


def expected(image, kernel, stride=1, padding=0, dilation=1, mode="zeros") -> torch.Tensor:
    padded = F.pad(torch.tensor(image).double()[None, None], [padding] * 4, MODES[mode])
    weight = torch.tensor(kernel).double()[None, None]
    return conv2d(padded, weight, stride=stride, dilation=dilation)[0, 0]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_arithmetic():
    """Every combination of options on an image that is not square."""
    torch.manual_seed(0)
    image, kernel = torch.randn(5, 7).double().tolist(), torch.randn(2, 3).double().tolist()
    cases = [
        dict(stride=stride, padding=padding, dilation=dilation, mode=mode)
        for stride, padding, dilation, mode in product((1, 2, 3), (0, 1, 4), (1, 2), MODES)
    ]
    program = f"""
        const {{ convolve, outputSize }} = require({json.dumps(str(FOLDER / "convolution.js"))});
        const [image, kernel, cases] = JSON.parse(require("fs").readFileSync(0));
        console.log(JSON.stringify(cases.map((options) => [
            [outputSize(5, 2, options), outputSize(7, 3, options)],
            convolve(image, kernel, options)])));
        """
    done = subprocess.run(
        ["node", "-e", program],
        input=json.dumps([image, kernel, cases]), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for options, (size, values) in zip(cases, json.loads(done.stdout), strict=True):
        told = {name: options[name] for name in ("stride", "padding", "dilation")}
        assert tuple(size) == conv2d_output_size((5, 7), (2, 3), **told)
        torch.testing.assert_close(
            torch.tensor(values).double(), expected(image, kernel, **options)
        )


@pytest.fixture(scope="module")
def page():
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield Page(browser)
    complaints = browser.get_log("browser")
    browser.quit()
    assert complaints == []


class Page:
    """The page as its user sees it: fields are typed into, buttons are clicked."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, **fields) -> None:
        self.browser.get((FOLDER / "index.html").as_uri())
        for name, value in fields.items():
            self.set(name.replace("_", "-"), value)

    def find(self, name: str):
        return self.browser.find_element("id", name)

    def set(self, name: str, value) -> None:
        field = self.find(name)
        if field.tag_name == "select":
            field.find_element("css selector", f'option[value="{value}"]').click()
        else:
            self.type(field, value)

    def type(self, field, text) -> None:
        """Over what is there."""
        field.send_keys(CONTROL + "a")
        field.send_keys(str(text))

    def cells(self, name: str) -> list:
        return self.find(name).find_elements("css selector", ".cell")

    def values(self, name: str, width: int) -> list[list[float]]:
        values = self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((c) => +c.dataset.value)",
            f"#{name} .cell",
        )
        return [values[i : i + width] for i in range(0, len(values), width)]

    def press(self, *keys) -> None:
        """On the page as a whole, or on what has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def text(self, name: str) -> str:
        return self.find(name).text


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(stride=2),
        dict(padding=2, mode="reflect", stride=3),
        dict(padding=3, mode="circular", dilation=2),
        dict(padding=1, mode="replicate", dilation=3),
    ],
    ids=str,
)
def test_output_is_that_of_torchconv(page, options):
    page.open(kernel_preset="Sobel", **options)
    image = torch.arange(36).reshape(6, 6).tolist()
    found = expected(image, [[1, 0, -1], [2, 0, -2], [1, 0, -1]], **options)
    height, width = found.shape
    assert page.values("output", width) == found.tolist()
    assert page.text("output-title") == f"output {height} × {width}"
    assert page.text("formula").endswith(f"= {width}")


def test_a_window_is_shown_where_its_output_is_clicked(page):
    page.open(stride=2, dilation=2, kernel_preset="vertical edges", image_preset="0 to 35")
    page.cells("output")[0].click()
    classes = [cell.get_attribute("class") for cell in page.cells("image")]
    seen = [i for i, names in enumerate(classes) if "seen" in names]
    assert seen == [0, 2, 4, 12, 14, 16, 24, 26, 28]
    assert page.values("products", 3) == [[0, 0, -4], [12, 0, -16], [24, 0, -28]]
    assert page.text("sum") == (
        "output[0, 0] = 0×1 + 2×0 + 4×(-1) + 12×1 + 14×0 + 16×(-1) + 24×1 + 26×0 + 28×(-1) = -12"
    )


def test_stepping(page):
    page.open()
    assert not page.find("back").is_enabled()
    page.find("step").click()
    page.find("step").click()
    assert page.text("sum").startswith("output[0, 2] =")
    page.find("back").click()
    page.browser.find_element("tag name", "h1").click()
    page.press(RIGHT, RIGHT)
    assert page.text("sum").startswith("output[0, 3] =")
    page.press(END)
    assert page.text("sum").startswith("output[3, 3] =") and page.text("sum").endswith("= 28")
    assert not page.find("step").is_enabled()
    page.find("play").click()
    assert page.text("play") == "pause" and page.text("sum").startswith("output[0, 0] =")
    page.find("reset").click()
    assert page.text("play") == "play"


def test_numbers_are_written_exactly_where_they_are_short(page):
    page.open(image_preset="0 to 35", kernel_preset="mean")
    pixels = [0, 1, 2, 6, 7, 8, 12, 13, 14]
    terms = " + ".join(f"{pixel}×1/9" for pixel in pixels)
    assert page.text("sum") == f"output[0, 0] = {terms} = 7"
    products = [cell.text for cell in page.cells("products")]
    assert products == ["0", "1/9", "2/9", "2/3", "7/9", "8/9", "4/3", "13/9", "14/9"]
    for typed, shown in [
        ("1/8", "0.125"),
        ("-2/3", "-2/3"),
        ("3.14159", "3.142"),
        ("1e-5", "1.0e-5"),
    ]:
        page.type(page.cells("kernel")[4], typed)
        page.browser.find_element("tag name", "h1").click()
        assert page.cells("kernel")[4].get_property("value") == shown


def test_numbers_can_be_typed(page):
    page.open(image_preset="one bright pixel", kernel_preset="identity")
    assert sum(map(sum, page.values("output", 5))) == 1
    middle = page.cells("kernel")[4]
    page.type(middle, "-3/4")
    assert page.values("output", 5)[2][2] == -0.75
    page.type(middle, "x")
    assert middle.get_attribute("aria-invalid") == "true"
    assert page.values("output", 5)[2][2] == -0.75  # the last number that was one


def test_what_cannot_be_is_told(page):
    page.open(image_preset="a row with a hill", kernel_preset="mean")
    assert page.text("refusal") == (
        "The output would be empty: the kernel covers 3 rows, and the image has only 1 with its "
        "padding."
    )
    assert not page.find("grids").is_displayed()
    page.set("kernel-preset", "a hill")
    assert page.text("refusal") == "" and page.find("grids").is_displayed()
    page.set("padding", 1)
    page.set("mode", "reflect")
    assert page.text("refusal").startswith("Reflecting 1 needs more than 1")


@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_the_window(page, width):
    page.browser.set_window_size(width, 1000)
    page.open(padding=4, stride=2)
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.browser.execute_script(overflow) <= 0
    picture = page.browser.get_screenshot_as_png()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
