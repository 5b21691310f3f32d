#include "cli/iommu_verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>

namespace causeway::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kStatus =
    "generation=1\niommu0.enabled=1\niommu0.mode=scalable\niommu0.translations=100\niommu0.iotlb_hits=90\n"
    "iommu0.iotlb_misses=10\niommu0.invalidations=7\niommu0.faults=3\niommu0.faults.00:1e.0=2\n"
    "iommu0.fault.0=00:1e.0 read of 0x1000: reason 0x2\niommu0.fault.1=00:01.0 write of 0x2000: reason 0x5\n"
    "iommu0.reports=4\niommu0.stale_translation=11\niommu0.domain_id_shared=12\niommu0.translation_off_live=13\n"
    "iommu0.context_dropped=14\niommu0.translation_changed=15\niommu0.te_off_transitions=16\n"
    "iommu0.report.0=stale_translation: 00:01.0 = 0x5000\niommu1.enabled=0\niommu1.translations=1\nbus.reads=3\n"
    "iommu.translations=9\niommux.translations=9\niommu99999.translations=9\niommu0=\n";

TEST(MachineIommu, IsReadFromTheMachinesStatus) {
  const MachineIommu seen = parse_machine_iommu(kStatus);
  ASSERT_EQ(seen.units.size(), 2u);
  const IommuUnit& unit = seen.units[0];
  EXPECT_TRUE(unit.enabled);
  EXPECT_FALSE(seen.units[1].enabled);
  EXPECT_EQ(unit.mode, "scalable");
  EXPECT_EQ(seen.sum(&IommuUnit::translations), 101u);
  EXPECT_EQ(unit.iotlb_hits, 90u);
  EXPECT_EQ(unit.iotlb_misses, 10u);
  EXPECT_EQ(unit.invalidations, 7u);
  EXPECT_EQ(unit.faults, 3u);
  EXPECT_EQ(seen.faults_of("00:1e.0"), 2u);
  EXPECT_EQ(unit.fault_texts.size(), 2u);
  EXPECT_EQ(unit.reports, 4u);
  EXPECT_THAT(unit.report_texts, ElementsAre("stale_translation: 00:01.0 = 0x5000"));
  uint64_t want = 11;
  for (const IommuEvidence& evidence : iommu_evidence()) EXPECT_EQ(unit.*evidence.counter, want++) << evidence.name;
}

TEST(KernelIommu, IsReadFromTheKernelsStatusIfItIsThere) {
  EXPECT_FALSE(parse_kernel_iommu({{{"ok", "1"}}}).told);
  const KernelIommu seen = parse_kernel_iommu({{{"iommu.units", "1"},
                                                {"iommu.devices", "2"},
                                                {"iommu.restored_devices", "3"},
                                                {"iommu.restored_domains", "4"},
                                                {"iommu.damage", "1"},
                                                {"iommu.damage.0", "device 00:01.0: no context table"}}});
  EXPECT_TRUE(seen.told);
  EXPECT_EQ(seen.units, 1u);
  EXPECT_EQ(seen.devices, 2u);
  EXPECT_EQ(seen.restored_devices, 3u);
  EXPECT_EQ(seen.restored_domains, 4u);
  EXPECT_EQ(seen.damage, 1u);
  EXPECT_THAT(seen.damage_texts, ElementsAre("device 00:01.0: no context table"));
}

MachineIommu machine(uint64_t translations) {
  IommuUnit unit;
  unit.enabled = true;
  unit.mode = "scalable";
  unit.translations = translations;
  // The unpreserved device's, from the first update on.
  unit.faults = translations > 200 ? 5 : 0;
  unit.faults_of["00:1e.0"] = unit.faults;
  return {{unit}};
}

DemoRun good_run() {
  DemoRun run;
  run.iommu_mode = IommuMode::kScalable;
  Snapshot snapshot;
  snapshot.iommu = {.told = true, .units = 1, .devices = 2, .restored_devices = 1, .restored_domains = 1};
  run.first = run.last = run.later = snapshot;
  run.updates.push_back({snapshot, snapshot, snapshot});
  run.iommu.push_back({1, machine(100), machine(200)});
  run.iommu.push_back({2, machine(250), machine(300)});
  return run;
}

TEST(IommuVerdict, GoodRunHasNoProblem) { EXPECT_THAT(find_iommu_problems(good_run()), IsEmpty()); }

TEST(IommuVerdict, RunWithoutAnIommuIsNotJudged) {
  DemoRun run;
  run.first.emplace();
  EXPECT_THAT(find_iommu_problems(run), IsEmpty());
  EXPECT_THAT(iommu_summary(run), IsEmpty());
}

struct Violation {
  const char* name;
  std::function<void(DemoRun&)> commit;
  const char* named;  // part of the one problem line it must give
  friend void PrintTo(const Violation& self, std::ostream* out) { *out << self.name; }
};
IommuUnit& at_end(DemoRun& run) { return run.iommu[1].end.units[0]; }

class IommuViolation : public ::testing::TestWithParam<Violation> {};

TEST_P(IommuViolation, IsNamedOnce) {
  DemoRun run = good_run();
  GetParam().commit(run);
  EXPECT_THAT(find_iommu_problems(run), ElementsAre(HasSubstr(GetParam().named)));
}

const Violation kViolations[] = {
    {"Off", [](DemoRun& r) { r.iommu[1].start.units[0].enabled = false; }, "generation 2: iommu0 does not translate"},
    {"OffThroughout",
     [](DemoRun& r) { for (auto& g : r.iommu) g.start.units[0].enabled = g.end.units[0].enabled = false; },
     "generation 1: iommu0 does not translate"},
    {"OtherMode", [](DemoRun& r) { at_end(r).mode = "legacy"; }, "in mode 'legacy', want 'scalable'"},
    {"NotUsed", [](DemoRun& r) { at_end(r).translations = 250; }, "generation 2: addresses translated"},
    {"NoUnit", [](DemoRun& r) { r.iommu[0].start.units.clear(); r.iommu[0].end.units.clear(); },
     "generation 1: the machine has no IOMMU"},
    {"NotLookedAt", [](DemoRun& r) { r.iommu.pop_back(); }, "generations whose IOMMU was looked at: 1, want 2"},
    {"Fault", [](DemoRun& r) { ++at_end(r).faults; }, "refused by the IOMMU (faults): 1 in generation 2"},
    {"FaultOfUnknownSource", [](DemoRun& r) { at_end(r).faults_of.clear(); }, "(faults): 5"},
    {"FaultText",
     [](DemoRun& r) {
       ++at_end(r).faults;
       at_end(r).fault_texts = {"00:1e.0 read", "00:01.0 write"};
     },
     ": 00:01.0 write"},
    {"Report", [](DemoRun& r) { at_end(r).reports = 1; at_end(r).report_texts = {"something"}; },
     "(reports): 1 in generation 2, want 0: something"},
    {"StaleTranslation", [](DemoRun& r) { at_end(r).stale_translation = 2; }, "(stale_translation): 2"},
    {"DomainIdShared", [](DemoRun& r) { at_end(r).domain_id_shared = at_end(r).reports = 1; }, "(domain_id_shared): 1"},
    {"TranslationOff", [](DemoRun& r) { at_end(r).translation_off_live = 1; }, "(translation_off_live): 1"},
    {"ContextDropped", [](DemoRun& r) { at_end(r).context_dropped = 1; }, "(context_dropped): 1"},
    {"TranslationChanged", [](DemoRun& r) { at_end(r).translation_changed = 1; }, "(translation_changed): 1"},
    {"TeOff", [](DemoRun& r) { r.iommu[1].start.units[0].te_off_transitions = at_end(r).te_off_transitions = 1; },
     "(te_off_transitions): 1 in generation 2"},
    {"Damage",
     [](DemoRun& r) {
       r.later->iommu.damage = 1;
       r.later->iommu.damage_texts = {"device 00:01.0: its context table was not preserved"};
     },
     "not taken over (damage 1): device 00:01.0"},
};
INSTANTIATE_TEST_SUITE_P(All, IommuViolation, ::testing::ValuesIn(kViolations),
                         [](const auto& param) { return param.param.name; });

TEST(IommuVerdict, EveryCounterIsNamedByItselfAndAddsToTheOthers) {
  DemoRun run = good_run();
  for (const IommuEvidence& evidence : iommu_evidence()) at_end(run).*evidence.counter = 1;
  EXPECT_EQ(find_iommu_problems(run).size(), iommu_evidence().size());
}

// What each way of breaking it looks like to the machine and the kernel, and that the verdict names it.
TEST(IommuVerdict, EverySabotageIsCaughtByItsEvidence) {
  const std::map<std::string, std::function<void(DemoRun&)>> looks_like = {
      {"drop-context", [](DemoRun& r) { r.later->iommu.damage = 1; }},
      {"reuse-did", [](DemoRun& r) { at_end(r).domain_id_shared = 1; }},
      {"te-off", [](DemoRun& r) { at_end(r).te_off_transitions = 1; }},
      {"skip-flush", [](DemoRun& r) { at_end(r).stale_translation = 1; }},
      {"stale-restore", [](DemoRun& r) { at_end(r).translation_changed = 1; }},
  };
  size_t modes = 0;
  for (const SabotageMode& mode : sabotage_modes()) {
    if (!mode.needs_iommu()) continue;
    ++modes;
    ASSERT_TRUE(looks_like.contains(mode.name)) << mode.name;
    DemoRun run = good_run();
    looks_like.at(mode.name)(run);
    const std::vector<std::string> problems = find_iommu_problems(run);
    ASSERT_EQ(problems.size(), 1u) << mode.name;
    // The help tells what to look for; the problem must say it in the same word.
    const size_t open = problems[0].find('('), end = problems[0].find_first_of(" )", open);
    const std::string evidence = problems[0].substr(open + 1, end - open - 1);
    EXPECT_NE(problems[0].find_first_of('('), std::string::npos);
    const bool in_help = std::string(mode.effect).find(mode.name == std::string("te-off") ? "te_off_transitions" : evidence) !=
                         std::string::npos;
    EXPECT_TRUE(in_help) << mode.name << ": " << mode.effect << " / " << problems[0];
  }
  EXPECT_EQ(modes, looks_like.size());
}

TEST(IommuReport, TellsOfTheDeviceThatIsNotHandedOver) {
  const DemoRun run = good_run();
  EXPECT_THAT(iommu_summary(run),
              ElementsAre(HasSubstr("scalable, 300 translations, 0.0 % of them by the IOTLB, 0 invalidations, 0 faults, 0 reports; "
                                    "restored 1 devices on 1 domains"),
                          HasSubstr("unpreserved device 00:1e.0: 5 refused accesses after updates")));
  const nlohmann::json json = iommu_json(run);
  EXPECT_EQ(json["mode"], "scalable");
  EXPECT_EQ(json["faults"], 0);
  EXPECT_EQ(json["unpreserved_device"]["refused"], 5);
  EXPECT_EQ(json["generations"][1]["translations"], 50);
  EXPECT_EQ(json["te_off_transitions"], 0);
}

TEST(IommuMode, OnIsScalable) {
  EXPECT_EQ(parse_iommu_mode("on"), IommuMode::kScalable);
  EXPECT_EQ(parse_iommu_mode("legacy"), IommuMode::kLegacy);
  EXPECT_EQ(parse_iommu_mode("both"), std::nullopt);
  EXPECT_EQ(machine_spec(IommuMode::kOff), "");
  EXPECT_EQ(machine_spec(IommuMode::kLegacy), "vtd,scalable=0");
  EXPECT_EQ(machine_spec(IommuMode::kScalable), "vtd,scalable=1");
}

}  // namespace
}  // namespace causeway::cli
