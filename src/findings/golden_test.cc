// Findings in, text, JSON and pictures out. CW_UPDATE_GOLDEN=1 rewrites the expected texts in the source folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "findings/render.h"
#include "findings/testing/examples.h"

namespace causeway::findings {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(CW_FINDINGS_TESTDATA) + "/" + name;
  if (std::getenv("CW_UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  std::stringstream wanted;
  wanted << std::ifstream(path, std::ios::binary).rdbuf();
  EXPECT_EQ(text, wanted.str()) << "CW_UPDATE_GOLDEN=1 makes this the expected text of " << path;
}

Outcome example_outcome() {
  Outcome outcome;
  outcome.program = "./prog --fast";
  outcome.findings = {examples::two_locks(), examples::lock_and_condition(), examples::gated(), examples::relock()};
  Outcome::Process process;
  process.pid = 4000;
  process.program = "/usr/bin/prog";
  process.threads = 3;
  process.objects = 4;
  process.classes = 4;
  process.edges = 5;
  process.memory = 70000;
  process.counters = {{"locks", 1200}};
  process.dropped = {{"stacks", 7}};
  Outcome::Process child;
  child.pid = 4010;
  child.program = "/usr/bin/helper";
  child.threads = child.edges = 1;
  outcome.processes = {process, child};
  outcome.ended_by = "SIGSEGV (Segmentation fault)";
  outcome.not_observed = {"12 futex system calls that no known primitive made"};
  outcome.unused_suppressions = {"dept.supp:3: function old_code"};
  outcome.suppressed = 1;
  return outcome;
}

TEST(Golden, TextOfFindings) {
  std::string text;
  for (const Finding& finding : {examples::two_locks(), examples::lock_and_condition(), examples::gated(), examples::relock(),
                                 examples::in_a_handler(), examples::philosophers()})
    text += render_text(finding, {});
  expect_golden("findings.txt", text);
  EXPECT_THAT(text, Not(HasSubstr("DEADLOCK")));
}

TEST(Golden, FullStacksShowWrappers) {
  EXPECT_THAT(render_text(examples::two_locks(), {}), Not(HasSubstr("std::mutex::lock")));
  EXPECT_THAT(render_text(examples::two_locks(), {.full_stacks = true}), HasSubstr("std::mutex::lock"));
}

TEST(Golden, SummaryJsonAndSarif) {
  const Outcome outcome = example_outcome();
  expect_golden("summary.txt", render_summary(outcome, Level::kLikely, true) + render_summary(outcome, Level::kPossible, false));
  expect_golden("outcome.json", to_json(outcome).dump(1) + "\n");
  expect_golden("outcome.sarif", to_sarif(outcome).dump(1) + "\n");
}

TEST(Golden, Pictures) {
  expect_golden("circle.dot", dot(examples::lock_and_condition()));
  expect_golden("circle.svg", svg(examples::philosophers()));
  const std::string page = html(example_outcome(), Level::kLikely);
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, Not(HasSubstr("q.ready"))) << "below the level that is shown";
}

TEST(Golden, PicturesOfNoneAndOneHop) {
  EXPECT_THAT(svg(examples::relock()), HasSubstr("</svg>"));
  EXPECT_THAT(svg(examples::in_a_handler()), HasSubstr("waits at a.cc:22"));
}

TEST(Golden, NamesCannotBreakOutOfPictures) {
  Finding finding = examples::two_locks();
  finding.hops[0].owed.name = "<script>\"&";
  EXPECT_THAT(svg(examples::finished(finding)), Not(HasSubstr("<script>")));
  EXPECT_THAT(dot(finding), HasSubstr("\\\""));
}

}  // namespace
}  // namespace causeway::findings
