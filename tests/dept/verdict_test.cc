#include "dept/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::tests {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using nlohmann::json;

Row row_of(const std::string& expect, const std::string& truth = "D", const std::string& more = "") {
  Row row;
  EXPECT_EQ(parse_row("M01.c", "// what: a test\n// truth: " + truth + "\n// expect: " + expect + "\n" + more + "int x;\n", &row), "");
  return row;
}

json place(const char* file = "/src/M01.c", int line = 12) {
  return json::array({{{"function", "lock"}, {"file", ""}, {"line", 0}}, {{"function", "book"}, {"file", file}, {"line", line}}});
}

json hop(const char* owed, const char* wanted) {
  return {{"owed", {{"name", owed}}}, {"wanted", {{"name", wanted}}}, {"start", place()}, {"wait", place()}, {"event", json::array()}};
}

Observation seen(const char* level, const char* kind = "lock") {
  json finding{{"level", level}, {"kind", kind}, {"title", "both orders"}, {"hops", json::array({hop("a", "b"), hop("b", "a")})}};
  return {.outcome = {{"findings", json::array({finding})}}};
}
Observation nothing() { return {.outcome = {{"findings", json::array()}}}; }

TEST(Verdict, WhatIsSaidAtTheTopIsRead) {
  Row row;
  ASSERT_EQ(parse_row("C07.c",
                      "// what: one line\n// and another: with a colon\n// truth: D\n// expect: likely kind=mixed hops=2 names=a,b\n"
                      "// level: possible\n// options: --noise 5000\n// hang: 5\n#include <x>\n// truth: N\n",
                      &row),
            "");
  EXPECT_EQ(row.id, "C07");
  EXPECT_EQ(row.what, "one line and another: with a colon");
  EXPECT_TRUE(row.deadlocks);
  EXPECT_EQ(row.level, 2);
  EXPECT_EQ(row.kind, "mixed");
  EXPECT_EQ(row.hops, 2u);
  EXPECT_THAT(row.names, ElementsAre("a", "b"));
  EXPECT_THAT(row.options, ElementsAre("--noise", "5000"));
  EXPECT_EQ(row.shown, "possible");
  EXPECT_EQ(row.hang, 5u);
  EXPECT_THAT(row_of("likely", "D", "// runs: 2 db 0 1\n").runs, ElementsAre("0", "1"));
}

TEST(Verdict, ARowThatSaysNonsenseIsRefused) {
  Row row;
  for (const char* text : {"", "// what: x\n", "// what: x\n// truth: D\n", "// what: x\n// truth: X\n// expect: silent\n",
                           "// what: x\n// truth: N\n// expect: likely\n", "// what: x\n// truth: D\n// expect: silent\n",
                           "// what: x\n// truth: D\n// expect: probable\n", "// what: x\n// truth: D\n// expect: likely loops=2\n",
                           "// what: x\n// truth: D\n// expect: likely\n// runs: 3 db 0 1\n"})
    EXPECT_NE(parse_row("M01.c", text, &row), "") << text;
}

TEST(Verdict, WhatIsAsExpectedHasNoFault) {
  EXPECT_THAT(faults(row_of("likely kind=lock hops=2 names=a,b"), seen("likely")), IsEmpty());
  EXPECT_THAT(faults(row_of("likely"), seen("certain")), IsEmpty()) << "a higher level is no fault";
  EXPECT_THAT(faults(row_of("likely kind=comm hops=2"), seen("certain", "stuck")), IsEmpty()) << "it did come to it";
  EXPECT_THAT(faults(row_of("silent", "N"), nothing()), IsEmpty());
  EXPECT_THAT(faults(row_of("silent", "N"), seen("possible")), IsEmpty()) << "it is not shown";
}

// The check can fail: one thing wrong at a time.
TEST(Verdict, EachThingThatIsNotAsExpectedIsAFault) {
  EXPECT_THAT(faults(row_of("likely"), nothing()), Contains(HasSubstr("missed")));
  EXPECT_THAT(faults(row_of("likely"), seen("possible")), Contains(HasSubstr("its level is lower")));
  EXPECT_THAT(faults(row_of("likely kind=comm"), seen("likely")), Contains(HasSubstr("want kind comm")));
  EXPECT_THAT(faults(row_of("likely hops=3"), seen("likely")), Contains(HasSubstr("want 3 hops")));
  EXPECT_THAT(faults(row_of("likely names=a,c"), seen("likely")), Contains(HasSubstr("does not name c")));
  EXPECT_THAT(faults(row_of("silent", "N"), seen("likely")), Contains(HasSubstr("false: likely lock of 2 hops")));
  EXPECT_THAT(false_reports(row_of("silent", "N"), seen("certain")), ::testing::SizeIs(1));
  EXPECT_THAT(faults(row_of("silent", "N"), Observation{}), Contains(HasSubstr("no list of findings")));

  Observation failed = nothing();
  failed.status = 1;
  EXPECT_THAT(faults(row_of("silent", "N"), failed), Contains(HasSubstr("ended with 1")));

  Observation late = seen("certain");
  late.printed_in_time = false;
  EXPECT_THAT(faults(row_of("certain", "D", "// hang: 2\n"), late), Contains(HasSubstr("only when the program was ended")));
}

TEST(Verdict, AStackWithoutALineOfTheProgramIsAFault) {
  const Row row = row_of("likely");
  Observation unknown = seen("likely");
  unknown.outcome["findings"][0]["hops"][1]["wait"] = json::array();
  EXPECT_THAT(faults(row, unknown), ElementsAre("no stack: wait of hop 2"));

  for (const json& bad : {place("/src/other.c"), place("/src/M01.c", 0)}) {
    Observation elsewhere = seen("likely");
    elsewhere.outcome["findings"][0]["hops"][0]["start"] = bad;
    EXPECT_THAT(faults(row, elsewhere), ElementsAre("no line of M01.c in the stack: start of hop 1"));
  }
  Observation two = unknown;
  two.outcome["findings"].push_back(seen("likely").outcome["findings"][0]);
  EXPECT_THAT(faults(row, two), IsEmpty()) << "one that is complete is enough";
}

}  // namespace
}  // namespace causeway::tests
