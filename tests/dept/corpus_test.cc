// The corpus under `causeway dept`: a test for each program, and at the end what they come to.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "dept/verdict.h"
#include "program.h"

namespace causeway::tests {
namespace {

using ::testing::IsEmpty;
using nlohmann::json;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Ended {
  int status = -1;
  bool ended_by_us = false;
  bool printed_in_time = false;
};

// A finding of this level or above.
bool tells(const std::string& log, int level) {
  const char* levels[] = {"info", "possible", "likely", "certain"};
  for (; level >= 0 && level < 4; ++level)
    if (("\n" + log).find(fmt::format("\n{}:", levels[level])) != std::string::npos) return true;
  return false;
}

// Runs `causeway dept`; a program that hangs is ended (it, not its observer) as soon as the finding is printed, and after
// `seconds` at the latest.
Ended run_observed(std::vector<std::string> words, const std::string& log, int level, unsigned seconds) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Ended ended;
  const auto begin = std::chrono::steady_clock::now();
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    const bool printed_now = level >= 0 && tells(text_of(log), level);
    const bool late = std::chrono::steady_clock::now() - begin > std::chrono::seconds(seconds);
    if (!ended.ended_by_us && (printed_now || late)) {
      ended.ended_by_us = true;
      ended.printed_in_time = printed_now;
      sleep_ms(100);  // others of the same moment
      for (pid_t child : children_of(pid)) ::kill(child, SIGKILL);
    } else if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(seconds + 20)) {
      ::kill(pid, SIGKILL);
    }
    sleep_ms(5);
  }
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

Observation observe(const Row& row, std::string* log_text) {
  TemporaryDirectory directory;
  const std::string out = directory.path() + "/findings.json", log = directory.path() + "/log";
  std::vector<std::string> options{program("causeway"), "dept", "--json-file", out};
  options.insert(options.end(), row.options.begin(), row.options.end());
  if (!row.shown.empty()) options.insert(options.end(), {"--level", row.shown});
  if (!row.runs.empty()) options.insert(options.end(), {"--db", directory.path() + "/db"});
  options.push_back("--");
  options.push_back(program("dept-corpus/" + row.id));

  Observation seen;
  for (const std::string& argument : row.runs.empty() ? std::vector<std::string>{""} : row.runs) {
    std::vector<std::string> words = options;
    if (!argument.empty()) words.push_back(argument);
    const Ended ended = run_observed(words, log, row.hang > 0 ? row.level : -1, row.hang > 0 ? row.hang : 30);
    seen.status = ended.ended_by_us && row.hang > 0 ? 0 : ended.status;
    seen.printed_in_time = ended.printed_in_time || !ended.ended_by_us;
    *log_text = text_of(log);
  }
  seen.outcome = json::parse(text_of(out), nullptr, false);
  return seen;
}

std::vector<Row> corpus() {
  std::vector<Row> rows;
  for (const auto& entry : std::filesystem::directory_iterator(CW_DEPT_CORPUS)) {
    if (entry.path().extension() != ".c" && entry.path().extension() != ".cc") continue;
    Row row;
    const std::string trouble = read_row(entry.path(), &row);
    EXPECT_EQ(trouble, "") << entry.path();
    rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.id < b.id; });
  return rows;
}

constexpr unsigned kRows = 100;

struct Score {
  unsigned deadlocks = 0, found = 0, safe = 0, silent = 0;
  std::vector<std::string> missed, false_reports;
};
Score score;

// At the end of all: how much of what is there was found, and that nothing else was.
class Summary : public ::testing::Environment {
 public:
  void TearDown() override {
    if (score.deadlocks + score.safe < kRows) return;  // only some were asked for
    fmt::print("corpus: {} of {} that can deadlock found, {} of {} that cannot left alone\n", score.found, score.deadlocks,
               score.silent, score.safe);
    for (const std::string& line : score.missed) fmt::print("  missed  {}\n", line);
    for (const std::string& line : score.false_reports) fmt::print("  false   {}\n", line);
    EXPECT_GE(score.found * 100, score.deadlocks * 95) << "want 95 % found";
    EXPECT_THAT(score.false_reports, IsEmpty());
  }
};
[[maybe_unused]] const auto* summary = ::testing::AddGlobalTestEnvironment(new Summary);

class Corpus : public ::testing::TestWithParam<Row> {};

TEST_P(Corpus, IsJudgedRightly) {
  const Row& row = GetParam();
  std::string log;
  Observation seen = observe(row, &log);
  std::vector<std::string> wrong = faults(row, seen);
  // Steps of the clock order nothing: on a machine that is busy elsewhere a program may meet what it only risks, or its
  // threads never meet. A report on a program that is safe has no second chance.
  for (const char* scale : {"3", "6"}) {
    if (wrong.empty() || (!row.deadlocks && !false_reports(row, seen).empty())) break;
    ::setenv("CORPUS_SCALE", scale, 1);
    seen = observe(row, &log);
    wrong = faults(row, seen);
    ::unsetenv("CORPUS_SCALE");
  }
  ++(row.deadlocks ? score.deadlocks : score.safe);
  if (row.deadlocks) {
    if (wrong.empty()) ++score.found;
    else score.missed.push_back(fmt::format("{:5} {}", row.id, wrong.front()));
  } else {
    const std::vector<std::string> reports = false_reports(row, seen);
    if (reports.empty()) ++score.silent;
    for (const std::string& report : reports) score.false_reports.push_back(fmt::format("{:5} {}", row.id, report));
  }
  if (row.missed.empty())
    EXPECT_THAT(wrong, IsEmpty()) << row.what << "\n" << log;
  else
    EXPECT_FALSE(wrong.empty()) << row.id << " is found now: take its 'missed' line away";
}
INSTANTIATE_TEST_SUITE_P(All, Corpus, ::testing::ValuesIn(corpus()),
                         [](const ::testing::TestParamInfo<Row>& each) { return each.param.id; });

// The whole way from program to verdict can fail: a program that deadlocks, said to be safe, and the other way round.
TEST(CorpusRunner, AWrongExpectationFails) {
  Row row;
  std::string log;
  ASSERT_EQ(read_row(CW_DEPT_CORPUS "/M01.c", &row), "");
  row.deadlocks = false;
  row.level = -1;
  EXPECT_FALSE(faults(row, observe(row, &log)).empty()) << log;
  ASSERT_EQ(read_row(CW_DEPT_CORPUS "/M03b.c", &row), "");
  row.deadlocks = true;
  row.level = kShownByDefault;
  EXPECT_FALSE(faults(row, observe(row, &log)).empty()) << log;
}

}  // namespace
}  // namespace causeway::tests
