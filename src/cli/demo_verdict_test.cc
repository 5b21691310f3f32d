#include "cli/demo_verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

namespace causeway::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Snapshot good_snapshot(uint32_t generation, const char* release, uint64_t records) {
  Snapshot snapshot;
  snapshot.pid = 42;
  snapshot.build_id = std::string("id of ") + release;
  snapshot.status.release = release;
  snapshot.status.generation = generation;
  snapshot.status.boot = generation == 1 ? kernel::BootKind::kCold : kernel::BootKind::kKexec;
  snapshot.status.pressure_rounds = 10;
  snapshot.status.kho.unrestored_pages = 2;
  snapshot.status.kho.unrestored_by_design = 2;
  drivers::DmaEngineStats engine;
  engine.adopted = generation > 1;
  engine.records = records;
  engine.bytes = records * 20480;
  engine.device_epoch = engine.expected_epoch = 1;
  engine.first_work_ns = 1;
  engine.completed_during = generation > 1 ? 12 : 0;
  snapshot.status.engines.emplace_back("00:01.0", engine);
  return snapshot;
}

DemoRun good_run() {
  DemoRun run;
  run.wanted_updates = 2;
  run.first = good_snapshot(1, "a", 1);
  run.updates.push_back({good_snapshot(1, "a", 100), good_snapshot(2, "b", 101), good_snapshot(2, "b", 200)});
  run.updates.push_back({good_snapshot(2, "b", 200), good_snapshot(3, "a", 201), good_snapshot(3, "a", 300)});
  run.last = good_snapshot(3, "a", 300);
  run.later = good_snapshot(3, "a", 310);
  run.machine_alive = true;
  return run;
}

drivers::DmaEngineStats& engine(Snapshot& snapshot) { return snapshot.status.engines.front().second; }

TEST(DemoVerdict, GoodRunHasNoProblem) { EXPECT_THAT(find_problems(good_run()), IsEmpty()); }

TEST(DemoVerdict, RunWithoutUpdatesMayBeGood) {
  DemoRun run = good_run();
  run.updates.clear();
  run.wanted_updates = 0;
  run.last = good_snapshot(1, "a", 300);
  run.later = good_snapshot(1, "a", 310);
  EXPECT_THAT(find_problems(run), IsEmpty());
}

struct Violation {
  const char* name;
  std::function<void(DemoRun&)> commit;
  const char* named;  // part of the one problem line it must give
  friend void PrintTo(const Violation& self, std::ostream* out) { *out << self.name; }
};

class DemoVerdictViolation : public ::testing::TestWithParam<Violation> {};

TEST_P(DemoVerdictViolation, IsNamedOnce) {
  DemoRun run = good_run();
  GetParam().commit(run);
  EXPECT_THAT(find_problems(run), ElementsAre(HasSubstr(GetParam().named)));
}

const Violation kViolations[] = {
    {"Lost", [](DemoRun& r) { engine(*r.later).lost = 3; }, "records lost: 3 in generation 3 (a), want 0"},
    {"Corrupted", [](DemoRun& r) { engine(r.updates[0].before).corrupted = 1; },
     "records corrupted: 1 in generation 1"},
    {"Replayed", [](DemoRun& r) { engine(r.updates[0].end).replayed = 2; }, "records replayed: 2 in generation 2"},
    {"Refused", [](DemoRun& r) { engine(*r.last).refused = 1; }, "transfers refused: 1"},
    {"DeviceRefused", [](DemoRun& r) { engine(*r.last).device_refused = 1; }, "transfers refused: 1"},
    {"Starved", [](DemoRun& r) { engine(*r.last).device_starved_ns = 7; }, "device waited for a buffer: 7"},
    {"Dropped", [](DemoRun& r) { engine(*r.last).device_dropped = 5; }, "dropped by the device: 5"},
    {"WorkFailed", [](DemoRun& r) { engine(*r.last).work_failed = 1; }, "work descriptors failed: 1"},
    {"Epoch", [](DemoRun& r) { engine(*r.last).device_epoch = 2; }, "device epoch 2, want 1"},
    {"EpochOfFirst",
     [](DemoRun& r) {
       for (Snapshot* s : {&r.updates[1].after, &r.updates[1].end, &*r.last, &*r.later})
         engine(*s).device_epoch = engine(*s).expected_epoch = 4;
     },
     "device epoch 4, want the first kernel's 1"},
    {"Damaged", [](DemoRun& r) { r.last->status.pressure_damaged = 1; }, "overwritten by somebody else: 1"},
    {"BadPages", [](DemoRun& r) { r.later->status.pages.bad_pages = 1; }, "bad pages: 1"},
    {"FailedRestores", [](DemoRun& r) { r.updates[1].end.status.kho.failed_restores = 4; }, "failed restores: 4"},
    {"Leaked", [](DemoRun& r) { r.updates[0].end.status.dma.leaked_pages = 8; }, "pages leaked: 8 in generation 2"},
    {"Unrestored", [](DemoRun& r) { r.updates[0].end.status.kho.unrestored_pages = 7; }, "nobody restored: 5"},
    {"DriverError", [](DemoRun& r) { r.last->status.driver_errors = {"00:01.0: EIO"}; },
     "generation 3: driver error: 00:01.0: EIO"},
    {"OwnProblem", [](DemoRun& r) { r.last->status.problems = {"something"}; }, "generation 3: something"},
    {"MachineDead", [](DemoRun& r) { r.machine_alive = false; }, "the machine died"},
    {"NothingInBlackout", [](DemoRun& r) { engine(r.updates[1].end).completed_during = 0; },
     "update 2: transfers completed in the blackout: 0"},
    {"NotAdopted", [](DemoRun& r) { engine(r.updates[0].after).adopted = false; }, "update 1: the device was not"},
    {"NoWork", [](DemoRun& r) { engine(r.updates[0].after).first_work_ns = 0; }, "update 1: no record"},
    {"SameRelease", [](DemoRun& r) { r.updates[0].before.status.release = "b"; }, "update 1: release b runs again"},
    {"SameBuild", [](DemoRun& r) { r.updates[0].before.build_id = r.updates[0].after.build_id; },
     "update 1: build id"},
    {"ColdBoot", [](DemoRun& r) { r.updates[0].after.status.boot = kernel::BootKind::kCold; },
     "update 1: boot was 'cold', want 'kexec'"},
    {"Standstill", [](DemoRun& r) { engine(*r.later).records = 300; }, "stands still at 300 records"},
    {"TooManyGenerations", [](DemoRun& r) { r.last->status.generation = 4; }, "generations: 4, want 3"},
    {"NoPressure", [](DemoRun& r) { r.later->status.pressure_rounds = 0; }, "rounds of memory pressure: 0"},
    {"NoDevice", [](DemoRun& r) { r.updates[0].before.status.engines.clear(); }, "generation 1 drives no device"},
    {"KernelGone", [](DemoRun& r) { r.later.reset(); }, "the kernel died before the end"},
    {"Failure", [](DemoRun& r) { r.failures = {"the kernel died while it ran"}; }, "died while it ran"},
    {"UpdateMissing",
     [](DemoRun& r) {
       r.wanted_updates = 3;
       r.last->status.generation = 4;
     },
     "live updates done: 2, want 3"},
};
INSTANTIATE_TEST_SUITE_P(All, DemoVerdictViolation, ::testing::ValuesIn(kViolations),
                         [](const auto& param) { return param.param.name; });

TEST(DemoVerdict, CountCarriedOnByLaterGenerationsIsNamedOnce) {
  DemoRun run = good_run();
  for (Snapshot* s : {&run.updates[0].end, &run.updates[1].before, &run.updates[1].end, &*run.last, &*run.later})
    engine(*s).lost = 1;
  EXPECT_THAT(find_problems(run), ElementsAre(HasSubstr("records lost: 1 in generation 2 (b), want 0")));
}

// A disk: the same run, with commands instead of records.
DemoRun good_nvme_run() {
  DemoRun run = good_run();
  run.workload = &nvme_workload();
  for (Snapshot* s : {&*run.first, &run.updates[0].before, &run.updates[0].after, &run.updates[0].end, &run.updates[1].before,
                      &run.updates[1].after, &run.updates[1].end, &*run.last, &*run.later}) {
    drivers::DmaEngineStats stream = engine(*s);
    s->status.engines.clear();
    s->status.nvmes.emplace_back("00:01.0", drivers::nvme::NvmeStats{.adopted = stream.adopted,
                                                                     .reads = stream.records,
                                                                     .completed_during_blackout = stream.completed_during,
                                                                     .first_work_ns = 1,
                                                                     .device_epoch = 1,
                                                                     .expected_epoch = 1});
  }
  run.disk = DiskSeen{.bytes = 1, .sha256 = "a", .expected = "a"};
  return run;
}

TEST(DemoVerdict, DisksAreJudgedByTheirCommandsAndTheirContents) {
  auto disk = [](Snapshot& snapshot) -> drivers::nvme::NvmeStats& { return snapshot.status.nvmes.front().second; };
  EXPECT_THAT(find_problems(good_nvme_run()), IsEmpty());

  DemoRun run = good_nvme_run();
  disk(run.updates[0].end).completed_during_blackout = 0;
  EXPECT_THAT(find_problems(run), IsEmpty()) << "some blackout is enough";
  disk(run.updates[1].end).completed_during_blackout = 0;
  EXPECT_THAT(find_problems(run), ElementsAre(HasSubstr("in all blackouts together: 0")));

  run = good_nvme_run();
  disk(*run.later).duplicated = 1;
  EXPECT_THAT(find_problems(run), ElementsAre(HasSubstr("commands completed twice: 1 in generation 3")));

  run = good_nvme_run();
  run.disk->sha256 = "b";
  EXPECT_THAT(find_problems(run), ElementsAre(HasSubstr("the disk's sha256 is b, want a")));
}

TEST(DemoVerdict, MachineThatNeverCameUpIsOneFailure) {
  DemoRun run;
  run.wanted_updates = 0;
  run.failures = {"the machine ended at start"};
  EXPECT_THAT(find_problems(run), ElementsAre("the machine ended at start"));
}

}  // namespace
}  // namespace causeway::cli
