import base64
import csv
import re
from html.parser import HTMLParser
from io import BytesIO, StringIO

import pytest
from PIL import Image
from rich.console import Console
from tests.small_dataset import KnowingEstimator, make_dataset, sure_of

from bintally.data.manifest import Split
from bintally.errors import CheckpointError
from bintally.evaluation.columns import METRIC_TITLES, cell, ranked, write_value
from bintally.evaluation.compare import compare
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.figures import write_figures
from bintally.evaluation.metrics import MetricName, ScopeName
from bintally.evaluation.report import write_report
from bintally.evaluation.results import Curves, read_evaluation, write_evaluation
from bintally.evaluation.table import paired_table, scores_table, splits_table

CURVES = Curves(
    epoch=(1, 2), train_loss=(2.0, 1.5), train_accuracy=(0.2, 0.4), val_loss=(2.1, 1.7), val_accuracy=(0.1, 0.3)
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("report") / "bins", [count % 9 for count in range(96)])


@pytest.fixture(scope="module")
def evaluations(manifest):
    def measured(name, belief, curves=None):
        return evaluate(KnowingEstimator(manifest, belief, name=name), manifest, resamples=50, curves=curves)

    return [
        measured("constant", lambda _: sure_of(3, share=0.4)),
        measured("<b>net</b>", lambda count: sure_of(4 if count == 3 else count), CURVES),
    ]


@pytest.fixture(scope="module")
def page(evaluations, manifest, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "sub" / "report.html"
    assert write_report(path, evaluations, manifest, benchmark="constant") == path
    return path.read_text(encoding="utf-8")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}:
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)


@pytest.fixture(scope="module")
def links(page):
    parser = Links()
    parser.feed(page)
    return parser


def test_the_page_loads_nothing(page, links):
    assert links.loads, "the pictures and the plots' markers are references"
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links.loads)
    assert not {"script", "link", "iframe", "object"} & set(links.tags)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_ids_of_different_plots_do_not_collide(links):
    assert len(links.ids) == len(set(links.ids))
    targets = {link.removeprefix("#") for link in links.loads if link.startswith("#")}
    assert targets <= set(links.ids)


def test_figures_are_those_of_the_json(page, evaluations, tmp_path):
    text = re.sub(r"<[^>]+>", " ", page)
    for number, evaluation in enumerate(evaluations):
        stored = read_evaluation(write_evaluation(evaluation, tmp_path / f"{number}.json"))
        for split, scope in ((Split.TRAIN, ScopeName.ALL), (Split.VAL, ScopeName.ALL), (Split.TEST, ScopeName.FIVE)):
            for metric in (MetricName.ACCURACY, MetricName.CROSS_ENTROPY):
                if scope is ScopeName.FIVE and metric is MetricName.CROSS_ENTROPY:
                    continue
                written = cell(metric, stored.figure(split, scope, metric))
                assert written.value in text
                assert written.interval in text
        assert write_value(MetricName.ACCURACY, stored.verification.missed_mismatch.value) in text


def test_where_the_figures_come_from_stands_on_the_page(page, manifest):
    for fact in (manifest.split_hash, manifest.content_hash, manifest.header.source, manifest.salt, "CC BY-NC-SA"):
        assert fact in page


def test_names_are_escaped(page):
    assert "<b>net</b>" not in page
    assert "&lt;b&gt;net&lt;/b&gt;" in page


def test_the_best_stands_first_and_every_metric_has_a_place(page, evaluations):
    assert [e.estimator for e in ranked(evaluations)] == ["<b>net</b>", "constant"]
    assert page.index("&lt;b&gt;net&lt;/b&gt; counts best of 2") < page.index("constant")
    assert all(title in page for title in METRIC_TITLES.values())


def test_mistakes_are_pictures_with_truth_and_belief(page, links, evaluations):
    mistakes = evaluations[1].most_confident_mistakes(12)
    pictures = [link for link in links.loads if link.startswith("data:")]
    assert len(pictures) == len(mistakes) > 0  # and none of the constant one, which does not look at photos
    for picture in pictures:
        assert Image.open(BytesIO(base64.b64decode(picture.partition(",")[2]))).size == (64, 48)
    assert page.count("<b>3 true, 4 predicted</b>") == len(mistakes)


def test_curves_are_drawn_where_a_run_gave_them(page):
    assert page.count("validation</text>") == 1
    assert page.count("<svg") == 1 + 4 + 3  # the ranking; one estimator with curves, one without


def test_an_unknown_benchmark_and_another_manifest_are_refused(evaluations, manifest, tmp_path):
    with pytest.raises(CheckpointError, match="expected a benchmark among"):
        write_report(tmp_path / "r.html", evaluations, manifest, benchmark="nobody")
    other = make_dataset(tmp_path / "bins", [1, 2, 3] * 16)
    with pytest.raises(CheckpointError, match="Evaluate again on this manifest"):
        write_report(tmp_path / "r.html", evaluations, other)
    with pytest.raises(CheckpointError, match="at least one evaluation"):
        write_report(tmp_path / "r.html", [], manifest)
    assert not (tmp_path / "r.html").exists()


def test_one_estimator_alone_needs_no_comparison(evaluations, manifest, tmp_path):
    page = write_report(tmp_path / "r.html", evaluations[:1], manifest).read_text(encoding="utf-8")
    assert "Paired with" not in page
    assert "counts best of" not in page


def text_of(table, width):
    console = Console(file=StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_terminal_tables_hold_the_same_figures(evaluations):
    net = evaluations[1]
    text = text_of(splits_table(evaluations), 120)
    for split in (Split.TRAIN, Split.VAL, Split.TEST):
        assert cell(MetricName.CROSS_ENTROPY, net.figure(split, ScopeName.ALL, MetricName.CROSS_ENTROPY)).value in text
    text = text_of(scores_table(evaluations), 120)
    accuracy = cell(MetricName.ACCURACY, net.figure(Split.TEST, ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY))
    assert accuracy.value in text
    assert accuracy.interval in text
    text = text_of(paired_table([compare(net, evaluations[0])]), 120)
    difference = compare(net, evaluations[0]).difference(ScopeName.ALL, MetricName.ACCURACY)
    assert write_value(MetricName.ACCURACY, difference.difference.value, signed=True) in text
    assert "better in 100 %" in text


def test_the_flat_table_holds_every_figure(evaluations, tmp_path):
    path = write_figures(evaluations, tmp_path / "new" / "figures.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = sum(len(scope.metrics) for e in evaluations for split in e.splits for scope in split.scopes)
    assert len(rows) == expected > 0
    first = evaluations[0]
    accuracy = first.figure(Split.TEST, ScopeName.ALL, MetricName.ACCURACY)
    (row,) = [
        row
        for row in rows
        if (row["estimator"], row["split"], row["scope"], row["metric"])
        == (first.estimator, "test", ScopeName.ALL.value, MetricName.ACCURACY.value)
    ]
    assert [float(row[name]) for name in ("value", "low", "high")] == pytest.approx(
        [accuracy.value, accuracy.low, accuracy.high], abs=1e-5
    )
    assert row["split_hash"] == first.provenance.split_hash
