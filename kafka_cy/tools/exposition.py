"""Reads `/metrics` pages in Prometheus' text format, for look-ups by name and labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.http_text import get_text, without_user

Labels = dict[str, str]


class Samples:
    """The merged samples of one or several scrapes. Not modified after it has been read."""

    def __init__(self) -> None:
        self._samples: defaultdict[str, list[tuple[Labels, float]]] = defaultdict(list)

    def add_text(self, text: str) -> None:
        """Add the samples of a response. Raises ValueError if it is not an exposition."""
        from prometheus_client.parser import text_string_to_metric_families

        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))

    def __contains__(self, name: str) -> bool:
        return name in self._samples

    def __bool__(self) -> bool:
        """Whether there is any sample: False if no page has been read."""
        return bool(self._samples)

    def of(self, name: str, **wanted: str) -> Iterator[tuple[Labels, float]]:
        """(labels, value) of every sample of that name whose labels have these values (empty: absent or empty)."""
        for labels, value in self._samples.get(name, ()):
            if all(labels.get(label, "") == text for label, text in wanted.items()):
                yield labels, value

    def total(self, name: str, **wanted: str) -> float:
        """The sum of those samples; 0 if there is none."""
        return sum(value for _, value in self.of(name, **wanted))

    def by(self, label: str, name: str, **wanted: str) -> dict[str, float]:
        """Sums by the values of one label, excluding samples without that label."""
        sums: defaultdict[str, float] = defaultdict(float)
        for labels, value in self.of(name, **wanted):
            if text := labels.get(label, ""):
                sums[text] += value
        return dict(sums)


def scrape(urls: list[str] | tuple[str, ...]) -> Samples:
    """The merged samples of all these `/metrics` addresses. Raises ToolError."""
    samples = Samples()
    for url in urls:
        text = get_text(url, "broker")
        try:
            samples.add_text(text)
        except (ValueError, KeyError, IndexError) as error:
            raise ToolError(f"{without_user(url)} does not return metrics.") from error
    return samples
