#include "dept/verdict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace causeway::tests {
namespace {

using nlohmann::json;

constexpr const char* kLevels[] = {"info", "possible", "likely", "certain"};

std::vector<std::string> words_of(const std::string& text, char separator = ' ') {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, separator);)
    if (!word.empty()) words.push_back(word);
  return words;
}

std::string parse_expectation(const std::string& text, Row* row) {
  std::vector<std::string> words = words_of(text);
  if (words.empty()) return "'expect' says nothing";
  if (words[0] != "silent") {
    row->level = rank_of(words[0]);
    if (row->level < 0) return fmt::format("'{}' is no level", words[0]);
  }
  for (size_t i = 1; i < words.size(); ++i) {
    const std::vector<std::string> pair = words_of(words[i], '=');
    if (pair.size() != 2) return fmt::format("'{}' is not NAME=VALUE", words[i]);
    if (pair[0] == "kind") row->kind = pair[1];
    else if (pair[0] == "hops") row->hops = std::stoul(pair[1]);
    else if (pair[0] == "names") row->names = words_of(pair[1], ',');
    else return fmt::format("'{}' is none of kind, hops, names", pair[0]);
  }
  return "";
}

bool is_list(const json& value, const char* key) { return value.contains(key) && value[key].is_array(); }

std::string text_at(const json& value, const char* key) {
  return value.is_object() && value.contains(key) && value[key].is_string() ? value[key].get<std::string>() : std::string();
}

// Every name an object of the finding goes by.
std::vector<std::string> names_in(const json& finding) {
  std::vector<std::string> names{text_at(finding.value("object", json::object()), "name")};
  for (const json& hop : finding["hops"])
    for (const char* end : {"owed", "wanted"})
      for (const char* word : {"name", "class"}) names.push_back(text_at(hop.value(end, json::object()), word));
  return names;
}

std::string sketch(const json& finding) {
  return fmt::format("{} {} of {} hops: {}", text_at(finding, "level"), text_at(finding, "kind"), finding["hops"].size(),
                     text_at(finding, "title"));
}

// What keeps a finding from being the one the row asks for; "": nothing.
std::string difference(const Row& row, const json& finding) {
  if (rank_of(text_at(finding, "level")) < row.level) return "its level is lower";
  // Threads that do wait for each other are seen from outside, as many as there are.
  if (text_at(finding, "kind") == "stuck") return "";
  if (!row.kind.empty() && text_at(finding, "kind") != row.kind) return fmt::format("want kind {}", row.kind);
  if (row.hops != 0 && finding["hops"].size() != row.hops) return fmt::format("want {} hops", row.hops);
  const std::vector<std::string> names = names_in(finding);
  for (const std::string& want : row.names)
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) { return name.find(want) != std::string::npos; }))
      return fmt::format("it does not name {}", want);
  return "";
}

bool is_resolved(const json& trace, const std::string& source) {
  const std::string plugin = std::filesystem::path(source).stem().string() + "_";
  return std::any_of(trace.begin(), trace.end(), [&](const json& line) {
    const std::string file = std::filesystem::path(text_at(line, "file")).filename();
    return (file == source || file.starts_with(plugin)) && line.value("line", 0) > 0;
  });
}

// Places that are known must be lines of the program's source; where a thread waits must be known.
std::vector<std::string> unresolved(const Row& row, const json& finding) {
  std::vector<std::string> found;
  auto look = [&](const json& owner, const char* key, bool must_be_known, const std::string& whose) {
    if (!is_list(owner, key) || owner[key].empty()) {
      if (must_be_known) found.push_back(fmt::format("no stack: {} of {}", key, whose));
    } else if (!is_resolved(owner[key], row.source)) {
      found.push_back(fmt::format("no line of {} in the stack: {} of {}", row.source, key, whose));
    }
  };
  size_t number = 0;
  for (const json& hop : finding["hops"]) {
    const std::string whose = fmt::format("hop {}", ++number);
    look(hop, "wait", true, whose);
    look(hop, "start", false, whose);
    look(hop, "event", false, whose);
  }
  if (number == 0) {
    look(finding, "stack", true, "the finding");
    look(finding, "other_stack", false, "the finding");
  }
  return found;
}

}  // namespace

int rank_of(const std::string& level) {
  for (int rank = 0; rank < 4; ++rank)
    if (level == kLevels[rank]) return rank;
  return -1;
}

std::string parse_row(const std::string& source, const std::string& text, Row* row) {
  *row = {};
  row->source = source;
  row->id = std::filesystem::path(source).stem();
  std::istringstream in(text);
  std::string last, truth, expect;
  for (std::string line; std::getline(in, line) && line.starts_with("// ");) {
    const size_t colon = line.find(": ");
    const std::string key = colon == std::string::npos ? "" : line.substr(3, colon - 3);
    const std::string value = colon == std::string::npos ? "" : line.substr(colon + 2);
    if (key == "truth") truth = value;
    else if (key == "expect") expect = value;
    else if (key == "options") row->options = words_of(value);
    else if (key == "level") row->shown = value;
    else if (key == "hang") row->hang = static_cast<unsigned>(std::stoul(value));
    else if (key == "missed") row->missed = value;
    else if (key == "runs") row->runs = words_of(value);
    else if (key == "what") row->what = value;
    else if (last == "what" && key != "build") row->what += " " + line.substr(3);
    if (key == "truth" || key == "what" || last != "what") last = key;
  }
  if (row->what.empty()) return "no 'what'";
  if (truth != "D" && truth != "N") return "no 'truth' that is D or N";
  row->deadlocks = truth == "D";
  if (std::string trouble = parse_expectation(expect, row); !trouble.empty()) return trouble;
  if (!row->deadlocks && row->level >= 0) return "what cannot deadlock is to be silent";
  if (row->deadlocks && row->level < 0) return "what can deadlock is to be found";
  if (!row->runs.empty()) {
    if (row->runs.size() < 3 || row->runs[1] != "db" || std::stoul(row->runs[0]) != row->runs.size() - 2)
      return "'runs' is not COUNT db ARGUMENT...";
    row->runs.erase(row->runs.begin(), row->runs.begin() + 2);
  }
  return "";
}

std::string read_row(const std::string& path, Row* row) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return parse_row(std::filesystem::path(path).filename(), text.str(), row);
}

std::vector<std::string> false_reports(const Row& row, const Observation& seen) {
  std::vector<std::string> found;
  if (row.deadlocks || !is_list(seen.outcome, "findings")) return found;
  for (const json& finding : seen.outcome["findings"])
    if (rank_of(text_at(finding, "level")) >= kShownByDefault) found.push_back(sketch(finding));
  return found;
}

std::vector<std::string> faults(const Row& row, const Observation& seen) {
  std::vector<std::string> found;
  if (row.hang == 0 && seen.status != 0) found.push_back(fmt::format("the program ended with {}", seen.status));
  if (!is_list(seen.outcome, "findings")) return found.push_back("there is no list of findings"), found;
  if (row.level < 0) {
    for (const std::string& report : false_reports(row, seen)) found.push_back("false: " + report);
    return found;
  }
  std::vector<std::string> others;
  std::vector<std::string> open;
  bool matched = false;
  for (const json& finding : seen.outcome["findings"]) {
    if (std::string why = difference(row, finding); !why.empty()) {
      others.push_back(fmt::format("{} ({})", sketch(finding), why));
      continue;
    }
    // Several may match; one whose stacks are all there is enough.
    const std::vector<std::string> here = unresolved(row, finding);
    if (!matched || here.size() < open.size()) open = here;
    matched = true;
  }
  if (!matched)
    found.push_back(fmt::format("missed: nothing {} or above as expected; found: {}", kLevels[row.level],
                                others.empty() ? "nothing" : fmt::format("{}", fmt::join(others, "; "))));
  found.insert(found.end(), open.begin(), open.end());
  if (matched && row.hang > 0 && !seen.printed_in_time) found.push_back("it was printed only when the program was ended");
  return found;
}

}  // namespace causeway::tests
