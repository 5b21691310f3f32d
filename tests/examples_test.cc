// The examples that are programs of their own, as their comments say to run them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "cli/launch.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::HasSubstr;

TEST(Examples, SessionSavesFilesAndGetsThemBackFromTheNextKernel) {
  const std::string name = cli::private_name();
  TemporaryDirectory directory;
  const std::string readme = directory.path() + "/readme", empty = directory.path() + "/empty";
  std::ofstream(readme) << "first line\n" << std::string(10'000, 'x');
  std::ofstream{empty};
  auto causeway = [&](std::vector<std::string> words) {
    words.insert(words.begin(), program("causeway"));
    words.insert(words.begin() + 2, {"--name", name});
    return run(words);
  };
  const std::string example = program("example_session");

  ASSERT_EQ(causeway({"up", "--cmdline", "dma_engine.ring=64"}).status, 0);
  Finished save = causeway({"run", "--", example, "save", readme, empty});
  EXPECT_EQ(save.status, 0) << save.err;
  EXPECT_THAT(save.out, HasSubstr("2 files in session \"example\""));
  Finished update = causeway({"kexec"});
  EXPECT_EQ(update.status, 0) << update.err;
  Finished restore = causeway({"run", "--", example, "restore"});
  EXPECT_EQ(restore.status, 0) << restore.err;
  EXPECT_EQ(restore.out, readme + ": 10011 bytes, \"first line\"\n" + empty + ": 0 bytes, \"\"\n");

  Finished again = causeway({"run", "--", example, "restore"});
  EXPECT_EQ(again.status, 1) << "it was finished";
  EXPECT_THAT(again.err, HasSubstr("cannot retrieve the session"));
  EXPECT_EQ(causeway({"run", "--", example}).status, 2);
  EXPECT_EQ(causeway({"down"}).status, 0);
}

}  // namespace
}  // namespace causeway::tests
