#include "findings/finding.h"

#include <fmt/format.h>

#include <array>

namespace causeway::findings {
namespace {

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

constexpr std::array kLevels = {"info", "possible", "likely", "certain"};

}  // namespace

const char* name_of(Level level) {
  const auto index = static_cast<size_t>(level);
  return index < kLevels.size() ? kLevels[index] : "unknown";
}

bool parse_level(const std::string& text, Level* level) {
  for (size_t i = 0; i < kLevels.size(); ++i) {
    if (text != kLevels[i] && !(i == 0 && text == "all")) continue;
    *level = static_cast<Level>(i);
    return true;
  }
  return false;
}

const char* name_of(dept::Kind kind) {
  switch (kind) {
    case dept::Kind::kUnknown: break;
    case dept::Kind::kMutex: return "mutex";
    case dept::Kind::kSpinLock: return "spin lock";
    case dept::Kind::kRwLock: return "rwlock";
    case dept::Kind::kCondVar: return "condition variable";
    case dept::Kind::kSemaphore: return "semaphore";
    case dept::Kind::kBarrier: return "barrier";
    case dept::Kind::kThread: return "the end of thread";
    case dept::Kind::kOnce: return "once";
    case dept::Kind::kStaticInit: return "the initialisation of";
    case dept::Kind::kFutex: return "futex";
    case dept::Kind::kFile: return "file";
    case dept::Kind::kLoader: return "the dynamic loader";
    case dept::Kind::kCompletion: return "completion";
    case dept::Kind::kWaitQueue: return "wait queue";
    case dept::Kind::kMap: return "event";
    case dept::Kind::kWork: return "work";
    case dept::Kind::kExit: return "the end of the program";
  }
  return "object";
}

std::string in_words(const Thing& thing) {
  std::string text;
  if (thing.kind == dept::Kind::kRwLock && thing.event == dept::Event::kRead) text = "readers of ";
  text += name_of(thing.kind);
  if (thing.kind == dept::Kind::kLoader || thing.kind == dept::Kind::kExit) return text;
  if (thing.name.empty()) return thing.address == 0 ? text : fmt::format("{} at {:#x}", text, thing.address);
  return fmt::format("{} {}{}", text, thing.name_is_place ? "of " : "", thing.name);
}

std::string in_words(const Actor& actor) {
  if (actor.id == 0) return "an unknown thread";
  return actor.name.empty() ? fmt::format("T{}", actor.id) : fmt::format("T{} '{}'", actor.id, actor.name);
}

const CodeLine* first_shown(const Trace& trace) {
  for (const CodeLine& line : trace)
    if (!line.folded) return &line;
  return trace.empty() ? nullptr : &trace.front();
}

std::string place(const Trace& trace) {
  const CodeLine* line = first_shown(trace);
  if (line == nullptr) return "an unknown place";
  if (!line->file.empty()) return line->line == 0 ? base_name(line->file) : fmt::format("{}:{}", base_name(line->file), line->line);
  if (!line->module.empty()) return fmt::format("{}+{:#x}", base_name(line->module), line->offset);
  return line->function.empty() ? "an unknown place" : line->function;
}

std::string place_in_words(const Trace& trace) {
  const CodeLine* line = first_shown(trace);
  const std::string where = place(trace);
  if (line == nullptr || line->function.empty() || where == line->function) return where;
  return fmt::format("{}() at {}", line->function, where);
}

}  // namespace causeway::findings
