// The size of a file that is in a session, as an unmodified program tries to change it.
#include <gtest/gtest.h>

#include "program.h"

namespace causeway::tests {
namespace {

Finished run_check(std::vector<std::string> words) {
  words.insert(words.begin(), {program("causeway"), "run", "--", program("frozen_file")});
  return run(words);
}

TEST(FrozenFile, OfASessionCannotBeResizedUntilTheSessionIsClosed) {
  Finished finished = run_check({"rules"});
  EXPECT_EQ(finished.status, 0) << finished.err;
}

TEST(FrozenFile, TakesThePartOfAWriteThatALinuxFileTakes) {
  Finished finished = run_check({"seal"});
  EXPECT_EQ(finished.status, 0) << finished.err;
}

TEST(FrozenFile, IsFreeAgainAfterALiveUpdateUntilItIsPreservedAgain) {
  Finished finished = run_check({"live-update", program("causeway")});
  EXPECT_EQ(finished.status, 0) << finished.err;
}

}  // namespace
}  // namespace causeway::tests
