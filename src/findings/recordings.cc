#include "findings/recordings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/unique_fd.h"
#include "findings/recorded_text.h"

namespace causeway::findings {
namespace {

// Of pages that were really written: the file is sparse.
uint64_t bytes_of(const std::string& path, const dept::Arena& arena) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * 512 : arena.memory_used();
}

constexpr const char* kNone = "there is no recording: want a directory that --keep has made, or a file of it";
constexpr const char* kUnreadable = "this is no recording, or one of another version of causeway dept: record it again";

constexpr std::array kTables = {std::pair(dept::Table::kClass, "classes"),     std::pair(dept::Table::kObject, "objects"),
                                std::pair(dept::Table::kEdge, "dependencies"), std::pair(dept::Table::kWitness, "witnesses"),
                                std::pair(dept::Table::kThread, "threads"),    std::pair(dept::Table::kThreadState, "running threads"),
                                std::pair(dept::Table::kStack, "stacks"),      std::pair(dept::Table::kFrame, "stack frames"),
                                std::pair(dept::Table::kString, "strings"),    std::pair(dept::Table::kModule, "modules"),
                                std::pair(dept::Table::kReport, "reports"),    std::pair(dept::Table::kClock, "clocks"),
                                std::pair(dept::Table::kWaiters, "waiter lists")};

uint64_t count_of(const dept::Arena& arena, dept::Table table) {
  const uint32_t used = arena.used(table);
  return used > 0 ? used - 1 : 0;
}

}  // namespace

bool Recordings::open(const std::string& path) {
  if (opened_.contains(path)) return true;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  auto recording = std::make_unique<Recording>(path, symbols_);
  if (recording->arena.open(fd.get()) != 0) return false;  // not whole yet, or none
  recordings_.push_back(std::move(recording));
  opened_.insert(path);
  return true;
}

Status Recordings::look() {
  std::error_code error;
  if (!std::filesystem::is_directory(where_, error)) {
    if (!std::filesystem::exists(where_, error)) return fail(ENOENT, kNone);
    return open(where_) ? Status() : fail(EINVAL, kUnreadable);
  }
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(where_, error)) {
    const std::string& path = entry.path().native();
    if (path.ends_with(".dept") && !opened_.contains(path)) paths.push_back(path);
  }
  if (error) return fail(error.value(), "cannot read the directory of recordings");
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) open(path);
  if (!recordings_.empty()) return {};
  return paths.empty() ? fail(ENOENT, kNone) : fail(EINVAL, kUnreadable);
}

std::vector<Finding> Recordings::news(Level named) {
  std::vector<Finding> found;
  for (const auto& recording : recordings_) {
    const dept::Arena& arena = recording->arena;
    const uint32_t used = arena.used<dept::Report>();
    if (recording->told.size() < used) recording->told.resize(used);
    for (uint32_t i = 1; i < used; ++i) {
      const dept::Report& report = arena.at<dept::Report>(dept::ReportId(i));
      const uint32_t published = report.published.load(std::memory_order_acquire);
      const uint32_t sequence = report.sequence;
      if (published == 0 || recording->told[i] == sequence + 1) continue;
      Finding finding = recording->story.tell(report, report.level < named ? Story::Names::kModules : Story::Names::kAll);
      // Changed while it was read: it is told next time, when it is whole again.
      if (report.published.load(std::memory_order_acquire) != published || report.sequence != sequence) continue;
      recording->told[i] = sequence + 1;
      auto [known, is_new] = told_.try_emplace(finding.id, finding.level);
      if (!is_new && known->second >= finding.level) continue;
      finding.raised = !is_new;
      known->second = finding.level;
      found.push_back(std::move(finding));
    }
  }
  // Of one that was raised at once, only the last word.
  std::vector<Finding> last;
  for (size_t i = 0; i < found.size(); ++i)
    if (std::none_of(found.begin() + static_cast<ptrdiff_t>(i) + 1, found.end(), [&](const Finding& later) { return later.id == found[i].id; }))
      last.push_back(std::move(found[i]));
  return last;
}

void Recordings::fill(Outcome* outcome) const {
  uint64_t by_hand = 0, without_state = 0, room_for_threads = 0;
  for (const auto& recording : recordings_) {
    const dept::Arena& arena = recording->arena;
    Outcome::Process process;
    process.pid = arena.header().pid;
    process.program = recording->story.program();
    process.classes = count_of(arena, dept::Table::kClass);
    process.objects = count_of(arena, dept::Table::kObject);
    process.edges = count_of(arena, dept::Table::kEdge);
    process.witnesses = count_of(arena, dept::Table::kWitness);
    process.threads = count_of(arena, dept::Table::kThread);
    process.stacks = count_of(arena, dept::Table::kStack);
    process.memory = bytes_of(recording->path, arena);
    for (unsigned i = 0; i < static_cast<unsigned>(dept::Counter::kCount); ++i)
      if (const uint64_t count = arena.counted(dept::Counter(i)); count > 0) process.counters.emplace_back(name_of(dept::Counter(i)), count);
    for (const auto& [table, name] : kTables)
      if (const uint64_t lost = arena.table(table).dropped.load(std::memory_order_relaxed); lost > 0) process.dropped.emplace_back(name, lost);
    process.stopped = text_of(arena, dept::StringId(arena.header().stopped.load(std::memory_order_relaxed)));
    outcome->processes.push_back(std::move(process));
    by_hand += arena.counted(dept::Counter::kRawFutex);
    without_state += arena.counted(dept::Counter::kThreadsWithoutState);
    room_for_threads = arena.capacity(dept::Table::kThreadState) - 1;
  }
  if (by_hand > 0)
    outcome->not_observed.push_back(fmt::format("{} futex calls by hand: locks of the program's own making, told as far as they can be inferred", by_hand));
  if (without_state > 0)
    outcome->not_observed.push_back(fmt::format("{} threads: there is room for {} that live at a time", without_state, room_for_threads));
}

}  // namespace causeway::findings
