#include "findings/suppressions.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/printable.h"

namespace causeway::findings {
namespace {

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool glob(const std::string& pattern, const std::string& text) { return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0; }
// A path, or its end from any directory on.
bool glob_path(const std::string& pattern, const std::string& path) {
  return !path.empty() && (glob(pattern, path) || glob("*/" + pattern, path));
}

std::vector<const Trace*> traces_of(const Finding& finding) {
  std::vector<const Trace*> traces{&finding.stack, &finding.other_stack};
  for (const Hop& hop : finding.hops) traces.insert(traces.end(), {&hop.start, &hop.wait, &hop.event});
  return traces;
}

bool any_line(const Finding& finding, const std::function<bool(const CodeLine&)>& holds) {
  for (const Trace* trace : traces_of(finding))
    if (std::any_of(trace->begin(), trace->end(), holds)) return true;
  return false;
}

bool any_thing(const Finding& finding, const std::function<bool(const Thing&)>& holds) {
  if (holds(finding.object)) return true;
  return std::any_of(finding.hops.begin(), finding.hops.end(), [&](const Hop& hop) { return holds(hop.owed) || holds(hop.wanted); });
}

bool frame_matches(const std::string& frame, const CodeLine& line) {
  const std::string pattern = frame.substr(4);
  if (frame.starts_with("fun:")) return !line.function.empty() && glob(pattern, line.function);
  if (frame.starts_with("obj:")) return glob_path(pattern, line.module);
  if (frame.starts_with("src:")) return glob_path(pattern.substr(0, pattern.find(':')), line.file);
  return false;
}

// Innermost first; "..." stands for any number of frames. What comes after the last one does not matter.
bool frames_match(const std::vector<std::string>& frames, size_t frame, const Trace& trace, size_t line) {
  if (frame == frames.size()) return true;
  if (frames[frame] == "...") {
    for (size_t at = line; at <= trace.size(); ++at)
      if (frames_match(frames, frame + 1, trace, at)) return true;
    return false;
  }
  return line < trace.size() && frame_matches(frames[frame], trace[line]) && frames_match(frames, frame + 1, trace, line + 1);
}

std::string trimmed(std::string text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// "2026-12-31" as 20261231; 0: it is no date.
unsigned parse_date(const std::string& text) {
  unsigned year = 0, month = 0, day = 0;
  int end = 0;
  if (std::sscanf(text.c_str(), "%4u-%2u-%2u%n", &year, &month, &day, &end) != 3 || text[static_cast<size_t>(end)] != '\0') return 0;
  return month < 1 || month > 12 || day < 1 || day > 31 ? 0 : year * 10000 + month * 100 + day;
}

}  // namespace

Status Suppressions::read(const std::string& path, std::string* reason) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const int error = errno;
    *reason = fmt::format("cannot read '{}': {}", path, std::strerror(error));
    return fail(error, "cannot read the suppressions");
  }
  std::stringstream text;
  text << in.rdbuf();
  return parse(path, text.str(), reason);
}

Status Suppressions::parse(const std::string& name, const std::string& text, std::string* reason) {
  std::istringstream in(text);
  std::string line;
  unsigned number = 0, opened = 0;
  Rule block;
  for (bool in_block = false; std::getline(in, line) || in_block;) {
    ++number;
    if (!in) {
      *reason = fmt::format("{}:{}: the '{{' is never closed", name, opened);
      return fail(EINVAL, "a block without an end");
    }
    if (const size_t hash = line.find('#'); hash != std::string::npos && (hash == 0 || line[hash - 1] == ' ' || line[hash - 1] == '\t'))
      line.resize(hash);
    line = trimmed(line);
    if (line.empty()) continue;
    if (in_block) {
      if (line == "}") {
        rules_.push_back(block);
        in_block = false;
      } else if (line == "..." || line.starts_with("fun:") || line.starts_with("obj:") || line.starts_with("src:")) {
        block.frames.push_back(line);
      } else if (block.text.empty()) {
        block.text = line;  // its name; the next one is the kind, which is ours whatever it says
      }
      continue;
    }
    if (line == "{") {
      in_block = true;
      opened = number;
      block = {};
      block.where = fmt::format("{}:{}", name, number);
      continue;
    }
    CW_TRY(parse_line(fmt::format("{}:{}", name, number), line, reason));
  }
  return {};
}

Status Suppressions::parse_line(const std::string& where, const std::string& line, std::string* reason) {
  Rule rule;
  rule.where = where;
  rule.text = line;
  auto wrong = [&](const std::string& what) {
    *reason = fmt::format("{}: {}", where, what);
    return fail(EINVAL, "a suppression that cannot be understood");
  };
  using What = Condition::What;
  if (line.starts_with("deadlock:")) {
    rule.conditions.push_back({What::kAnyPart, "*" + line.substr(9) + "*"});
    rules_.push_back(rule);
    return {};
  }
  std::istringstream words(line);
  std::string word, value;
  words >> word;
  if (word != "match" && word != "id") return wrong(fmt::format("'{}': want match, id, deadlock: or a block", printable(word)));
  if (word == "id") words.seekg(0);
  while (words >> word) {
    if (!(words >> value)) return wrong(fmt::format("'{}' without a value", printable(word)));
    if (word == "function") rule.conditions.push_back({What::kFunction, value});
    else if (word == "file") rule.conditions.push_back({What::kFile, value});
    else if (word == "module") rule.conditions.push_back({What::kModule, value});
    else if (word == "object") rule.conditions.push_back({What::kObject, value});
    else if (word == "id") rule.conditions.push_back({What::kId, value});
    else if (word == "level") {
      if (!parse_level(value, &rule.level)) return wrong(fmt::format("level '{}': want certain, likely, possible or info", printable(value)));
      rule.has_level = true;
    } else if (word == "until") {
      const unsigned date = parse_date(value);
      if (date == 0) return wrong(fmt::format("until '{}': want YYYY-MM-DD", printable(value)));
      rule.expired = date < today_;
    } else {
      return wrong(fmt::format("'{}': want function, file, module, object, id, level or until", printable(word)));
    }
  }
  if (rule.conditions.empty()) return wrong("it would match everything");
  rules_.push_back(rule);
  return {};
}

bool Suppressions::matches(const Rule& rule, const Finding& finding) {
  if (rule.expired) return false;
  if (rule.conditions.empty()) {
    const std::vector<const Trace*> traces = traces_of(finding);
    return !rule.frames.empty() &&
           std::any_of(traces.begin(), traces.end(), [&](const Trace* trace) { return frames_match(rule.frames, 0, *trace, 0); });
  }
  return std::all_of(rule.conditions.begin(), rule.conditions.end(), [&](const Condition& condition) {
    const std::string& pattern = condition.pattern;
    auto named = [&](const Thing& thing) { return !thing.name.empty() && (glob(pattern, thing.name) || glob(pattern, thing.class_name)); };
    switch (condition.what) {
      case Condition::What::kFunction: return any_line(finding, [&](const CodeLine& line) { return glob(pattern, line.function); });
      case Condition::What::kFile: return any_line(finding, [&](const CodeLine& line) { return glob_path(pattern, line.file); });
      case Condition::What::kModule: return any_line(finding, [&](const CodeLine& line) { return glob_path(pattern, line.module); });
      case Condition::What::kObject: return any_thing(finding, named);
      case Condition::What::kId: return finding.id == pattern;
      case Condition::What::kAnyPart:
        return any_line(finding, [&](const CodeLine& line) {
          return glob(pattern, line.function) || glob(pattern, line.file) || glob(pattern, line.module);
        });
    }
    return false;
  });
}

Suppressions::Verdict Suppressions::apply(Finding* finding) {
  Verdict verdict = Verdict::kTold;
  for (Rule& rule : rules_) {
    if (!matches(rule, *finding)) continue;
    ++rule.used;
    if (!rule.has_level) {
      verdict = Verdict::kHidden;
    } else if (finding->level > rule.level) {
      finding->level = rule.level;
      finding->refutations.push_back(fmt::format("{} says so", rule.where));
    }
  }
  return verdict;
}

std::vector<std::string> Suppressions::unused() const {
  std::vector<std::string> list;
  for (const Rule& rule : rules_)
    if (rule.used == 0) list.push_back(fmt::format("{}: {}{}", rule.where, printable(rule.text), rule.expired ? " (expired)" : ""));
  return list;
}

Status Baseline::read(const std::string& path) {
  std::ifstream in(path);
  if (!in) return fail_with_errno("cannot read the baseline");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string id, level_text;
    Level level{};
    if (!(words >> id) || id[0] == '#') continue;
    if (!(words >> level_text) || !parse_level(level_text, &level)) return fail(EINVAL, "a line of the baseline is not 'ID LEVEL title'");
    known_.emplace_back(id, level);
  }
  return {};
}

bool Baseline::knows(const Finding& finding) const {
  return std::any_of(known_.begin(), known_.end(), [&](const auto& known) { return known.first == finding.id && finding.level <= known.second; });
}

std::string Baseline::write(const std::vector<Finding>& findings) {
  std::string text = "# known findings of causeway dept: ID LEVEL title\n";
  for (const Finding& finding : findings) text += fmt::format("{} {} {}\n", finding.id, name_of(finding.level), finding.title);
  return text;
}

bool is_of_the_runtime(const Finding& finding) {
  static constexpr std::array<const char*, 7> kRuntime = {"ld-linux*.so*", "ld-musl*", "libc.so*", "libpthread.so*", "libstdc++.so*",
                                                          "libgcc_s.so*", "libcauseway-dept.so*"};
  bool any = false;
  for (const Trace* trace : traces_of(finding))
    for (const CodeLine& line : *trace) {
      if (line.module.empty()) return false;
      const std::string name = base_name(line.module);
      if (std::none_of(kRuntime.begin(), kRuntime.end(), [&](const char* pattern) { return glob(pattern, name); })) return false;
      any = true;
    }
  return any;
}

}  // namespace causeway::findings
