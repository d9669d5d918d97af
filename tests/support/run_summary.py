"""What the end of a run says: what was skipped and why, and which tests took most of the processor.

Processor time is of all threads and of all processes that were waited for; a busy machine changes it little, as it does
not the time on the clock.
"""

import os
from collections import Counter

import pytest

SHOWN = 10


def used_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class RunSummary:
    """Each report carries what was used since the one before; each worker's total reaches the one that prints."""

    def __init__(self):
        self.last, self.of_workers = 0.0, 0.0

    def pytest_collection_finish(self):
        self.last = used_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        before, self.last = self.last, used_seconds()
        report.processor_seconds = self.last - before
        return report

    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["processor_seconds"] = used_seconds()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.of_workers += getattr(node, "workeroutput", {}).get("processor_seconds", 0.0)

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("skipped, and processor time")
        reasons = Counter(reason(report) for report in terminalreporter.stats.get("skipped", []))
        for text, count in reasons.most_common():
            terminalreporter.line(f"{count} skipped: {text}")
        seconds = Counter()
        for reports in terminalreporter.stats.values():
            for report in reports:
                seconds[getattr(report, "nodeid", "")] += getattr(report, "processor_seconds", 0.0)
        own = os.times()  # its children are the workers, where there are any
        total = self.of_workers + own.user + own.system if self.of_workers else used_seconds()
        terminalreporter.line(
            f"{total:.0f} s of processor time, {total - seconds.total():.0f} of them to import and collect"
        )
        for name, value in seconds.most_common(SHOWN):
            terminalreporter.line(f"{value:6.1f} s {name}")


def reason(report):
    return report.longrepr[2].removeprefix("Skipped: ")


def pytest_configure(config):
    config.pluginmanager.register(RunSummary(), "run summary")
