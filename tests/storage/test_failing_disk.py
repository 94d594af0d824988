"""ENOSPC and EIO in every place: the call fails, the log goes offline like Kafka's directory, and no record is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.failing_disk import run_with_failing_disk

ENOSPC, EIO, EMFILE = "28", "5", "24"


@pytest.mark.parametrize("error", [ENOSPC, EIO])
def test_an_append_that_fails_takes_the_log_offline(tmp_path: Path, error: str) -> None:
    code = f"""
log = PartitionLog(folder, clean=True)
for _ in range(5):
    log.append(batch())
disk.fail("pwrite", {error})
for _ in range(2):
    try:
        log.append(batch())
    except StorageFailure as failure:
        print(failure.code, failure.error_number)
disk.heal()
print(log.offline)
again = PartitionLog(folder, recovery_point=0)
print(*numbers(again), again.append(batch()))
"""
    assert run_with_failing_disk(tmp_path, code) == ["2", error, "15", error, "True", *"01234", "5"]


def test_a_torn_write_is_cut_off(tmp_path: Path) -> None:
    """Half a batch, then a full disk: the log has exactly the records acknowledged before."""
    code = """
log = PartitionLog(folder, clean=True)
log.append(batch())
size = os.path.getsize(folder + "/" + "0" * 20 + ".log")
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
try:
    log.append(batch())
except StorageFailure as failure:
    print(failure.error_number)
print(os.path.getsize(folder + "/" + "0" * 20 + ".log") == size, log.offline)
"""
    assert run_with_failing_disk(tmp_path, code) == ["27", "True", "True"]


@pytest.mark.parametrize("call", ["pread", "pwrite"])
def test_a_recovery_that_fails_drops_nothing(tmp_path: Path, call: str) -> None:
    """Unreadable data does not count as torn, and a full disk must not make recovery drop segments."""
    code = f"""
log = PartitionLog(folder, {{"segment.bytes": 1000, "index.interval.bytes": 1}}, clean=True)
for _ in range(40):
    log.append(batch(1, size=200))
log.flush()
for after in range(0, 30, 3):
    disk.fail("{call}", {ENOSPC if call == "pwrite" else EIO}, after)
    try:
        PartitionLog(folder, recovery_point=0)
    except StorageFailure as failure:
        print(failure.error_number)
    disk.heal()
again = PartitionLog(folder, recovery_point=0)
print(numbers(again) == list(range(40)))
"""
    words = run_with_failing_disk(tmp_path, code)
    assert words[-1] == "True"
    assert len(words) > 5
    assert set(words[:-1]) == {ENOSPC if call == "pwrite" else EIO}


def test_a_read_error_takes_the_log_offline(tmp_path: Path) -> None:
    code = f"""
log = PartitionLog(folder, {{"segment.bytes": 1000}}, clean=True)
for _ in range(40):
    log.append(batch(1, size=200))
disk.fail("pread", {EIO})
for _ in range(2):
    try:
        log.read(0)
    except StorageFailure as failure:
        print(failure.code, failure.error_number)
print(log.offline)
"""
    assert run_with_failing_disk(tmp_path, code) == ["2", EIO, "15", EIO, "True"]


def test_an_error_has_its_own_errno_only(tmp_path: Path) -> None:
    """An error that no failed call caused does not show the errno of an earlier call."""
    code = f"""
log = PartitionLog(folder, clean=True)
log.append(batch(1, producer_id=1, producer_epoch=0, base_sequence=0), origin="client")
try:
    open("/does/not/exist")
except OSError:
    pass
try:
    log.append(batch(1, producer_id=1, producer_epoch=0, base_sequence=7), origin="client")
except StorageFailure as failure:
    print(failure.code, failure.error_number, log.offline)
disk.fail("pwrite", {EMFILE})
try:
    log.append(batch())
except StorageFailure as failure:
    print(failure.code, failure.error_number, log.offline)
disk.heal()
try:
    log.append(batch(1, producer_id=1, producer_epoch=0, base_sequence=7), origin="client")
except StorageFailure as failure:
    print(failure.code, failure.error_number)
"""
    assert run_with_failing_disk(tmp_path, code) == ["5", "0", "False", "2", EMFILE, "False", "5", "0"]


def test_rolled_segments_wait_for_a_flush_that_fails(tmp_path: Path) -> None:
    """The flush cannot write the indexes of a roll: the log goes offline, stays readable, and is complete after a restart."""
    code = f"""
config = {{"segment.bytes": 1000, "index.interval.bytes": 1}}
log = PartitionLog(folder, config, clean=True)
appended = 0
def append():
    global appended
    log.append(batch(1, size=200, timestamp_ms=1000 * appended))
    appended += 1
for _ in range(3):
    append()
disk.fail("pwrite", {ENOSPC}, 2)
try:
    while True:
        append()
except StorageFailure as failure:
    print(failure.error_number)
while not log.offline:
    time.sleep(0.001)
disk.heal()
again = PartitionLog(folder, config, recovery_point=0)
print(numbers(again) == list(range(appended)), all(again.offset_for_timestamp(1000 * i)[0] == i for i in range(appended)))
"""
    assert run_with_failing_disk(tmp_path, code) == [ENOSPC, "True", "True"]


def test_a_folder_is_renamed_under_a_flush(tmp_path: Path) -> None:
    """Between the rename and the update of the segments' folder, a flush neither fails nor writes elsewhere."""
    code = """
log = PartitionLog(folder, {"segment.bytes": 1000, "flush.messages": 1}, clean=True)
disk.slow_renames(3000)
names = [folder + "-other", folder]
stop = threading.Event()
def flush():
    while not stop.is_set():
        log.flush()
threads = [threading.Thread(target=flush) for _ in range(2)]
[thread.start() for thread in threads]
for i in range(60):
    for _ in range(12):
        log.append(batch(1, size=200))
    log.rename(names[i % 2])
stop.set()
[thread.join() for thread in threads]
print(log.offline, log.failed_errno, os.path.exists(names[0]), numbers(log) == list(range(720)))
log.close()
again = PartitionLog(folder, clean=True)
print(numbers(again) == list(range(720)))
"""
    assert run_with_failing_disk(tmp_path, code) == ["False", "0", "False", "True", "True"]


def test_no_append_gets_into_a_truncation_that_fails(tmp_path: Path) -> None:
    """An appender waits for the log while a cut fails half way. It would write through the old active segment, at an offset
    that the next start does not find there. The truncation stops after each of its unlocks in turn."""
    code = f"""
config = {{"segment.bytes": 1000, "index.interval.bytes": 1}}
os.rmdir(folder)
stops = 0
for after in range(4):
    for unlock in range(1, 100):
        path = f"{{folder[:-2]}}{{after}}x{{unlock}}-0"
        os.mkdir(path)
        log = PartitionLog(path, config, clean=True)
        for _ in range(12):
            log.append(batch(1, size=200))
        log.flush()
        cut, appended = [], []
        def truncate():
            disk.library.stop_after_unlock(unlock)
            try:
                log.truncate_to(5)
                cut.append("cut")
            except StorageFailure as failure:
                cut.append(failure.error_number)
            disk.library.stop_after_unlock(0)
        def append():
            try:
                appended.append(log.append(batch()))
            except StorageFailure as failure:
                appended.append("refused" if failure.code == 15 else failure.code)
        disk.fail("pread", {EIO}, after)
        cutter = threading.Thread(target=truncate)
        cutter.start()
        while cutter.is_alive() and not disk.library.threads_stopped():
            time.sleep(0.001)
        stopped = bool(disk.library.threads_stopped())
        if stopped:
            stops += 1
            appender = threading.Thread(target=append)
            appender.start()
            while appender.is_alive() and not disk.library.threads_blocked():
                time.sleep(0.001)
            disk.library.let_go_on()
            appender.join()
        cutter.join()
        disk.heal()
        if cut == [{EIO}] and appended:
            print(*appended)
        log.abandon()
        if not stopped:
            break
print(stops > 3)
"""
    words = run_with_failing_disk(tmp_path, code)
    assert words[-1] == "True"
    assert len(words) > 1
    assert set(words[:-1]) == {"refused"}


def test_a_folder_that_cannot_be_listed_to_its_end_is_not_opened(tmp_path: Path) -> None:
    """An error is not the end of the folder: the log would lack its later segments. A cleaner's swap is unfinished, too."""
    code = f"""
import shutil
config = {{"segment.bytes": 1000, "index.interval.bytes": 1}}
log = PartitionLog(folder, config, clean=True)
for _ in range(22):
    log.append(batch(1, size=200))
log.close()
first = folder + "/" + "0" * 20 + ".log"
cleaned = shutil.copy(first, folder + "-cleaned")
for after in range(1000):
    shutil.copy(cleaned, first + ".swap")
    open(folder + "/0" + "9" * 19 + ".log.cleaned", "w").close()
    disk.fail("readdir", {EIO}, after)
    try:
        log = PartitionLog(folder, config, recovery_point=0)
    except StorageFailure as failure:
        disk.heal()
        print("failed", failure.error_number)
        continue
    disk.heal()
    print(numbers(log) == list(range(22)))
    break
"""
    words = run_with_failing_disk(tmp_path, code)
    failures = len(words) // 2
    assert failures > 40, "in each of the passes"
    assert words == [*["failed", EIO] * failures, "True"]


@pytest.mark.parametrize("error", [EMFILE, EIO])
@pytest.mark.parametrize("cut", ["truncate_to(7)", "truncate_fully(500)"])
def test_a_cut_that_fails_half_way_takes_the_log_offline(tmp_path: Path, error: str, cut: str) -> None:
    """The list still has segments whose files have another name: no append may go there. A start after the failure finds
    whole batches up to the end of the segment that was cut."""
    code = f"""
config = {{"segment.bytes": 1000, "index.interval.bytes": 1}}
os.rmdir(folder)
for after in range(100):
    path = f"{{folder[:-2]}}{{after}}-0"
    os.mkdir(path)
    log = PartitionLog(path, config, clean=True)
    for _ in range(22):
        log.append(batch(1, size=200))
    log.flush()
    disk.fail("opendir", {error}, after)
    try:
        log.{cut}
    except StorageFailure as failure:
        disk.heal()
        print("failed", failure.code, failure.error_number, log.offline)
        try:
            print(log.append(batch()))
        except StorageFailure as failure:
            print(failure.code)
        log.abandon()
        again = PartitionLog(path, config, recovery_point=0)
        print(numbers(again) == list(range(again.log_end_offset)), again.log_end_offset < 12)
        continue
    disk.heal()
    print("cut", log.offline, log.append(batch()))
    break
"""
    words = run_with_failing_disk(tmp_path, code)
    end = "7" if "7" in cut else "500"
    failure = ["failed", "2", error, "True", "15", "True", "True"]
    assert words[-3:] == ["cut", "False", end]
    assert len(words) > 3
    assert words[:-3] == failure * (len(words[:-3]) // len(failure))


@pytest.mark.parametrize("error", [EMFILE, EIO])
def test_retention_keeps_segments_whose_age_it_cannot_find_out(tmp_path: Path, error: str) -> None:
    """The records are young, but the files are old: without their time indexes, their last change must not count."""
    code = f"""
config = {{"segment.bytes": 1000, "index.interval.bytes": 1, "retention.ms": 5000}}
young_ms = 1 << 42
log = PartitionLog(folder, config, clean=True)
for _ in range(22):
    log.append(batch(1, size=200, timestamp_ms=young_ms))
log.close()
log = PartitionLog(folder, config, recovery_point=22, clean=True)
held = []
if {error} == {EIO}:
    disk.fail("pread", {EIO})
try:
    while {error} == {EMFILE}:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
print(log.delete_old_segments(now_ms=young_ms + 1), log.offline)
disk.heal()
for each in held:
    os.close(each)
if not log.offline:
    print(log.delete_old_segments(now_ms=young_ms + 1), log.delete_old_segments(now_ms=young_ms + 5001) > 5)
"""
    later = ["0", "True"] if error == EMFILE else []
    assert run_with_failing_disk(tmp_path, code) == ["0", str(error == EIO), *later]


def test_files_of_unused_segments_give_way_to_a_cut(tmp_path: Path) -> None:
    """Others hold all descriptors but those of the log's segments."""
    code = """
config = {"segment.bytes": 1000, "index.interval.bytes": 1}
log = PartitionLog(folder, config, clean=True)
for _ in range(30):
    log.append(batch(1, size=200))
log.flush()
log.truncate_to(25)     # the library that stands in for the disk and the interpreter have opened all that they need
print(len(numbers(log)))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
log.truncate_to(22)
for each in held:
    os.close(each)
print(log.offline, log.append(batch()))
"""
    assert run_with_failing_disk(tmp_path, code) == ["25", "False", "22"]
