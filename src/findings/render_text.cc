#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "findings/render.h"
#include "findings/words.h"

namespace causeway::findings {
namespace {

template <typename... Args>
void line(std::string& out, unsigned indent, fmt::format_string<Args...> format, Args&&... args) {
  out.append(indent, ' ');
  out += fmt::format(format, std::forward<Args>(args)...);
  out += '\n';
}

const char* plural(uint64_t n) { return n == 1 ? "" : "s"; }

// Breaks at spaces; continued lines are indented as the first.
void paragraph(std::string& out, unsigned indent, const std::string& text) {
  constexpr size_t kWidth = 112;
  std::string row;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!row.empty() && indent + row.size() + 1 + word.size() > kWidth) {
      line(out, indent, "{}", row);
      row.clear();
    }
    row += (row.empty() ? "" : " ") + word;
    at = end + 1;
  }
  if (!row.empty()) line(out, indent, "{}", row);
}

std::string code_line(const CodeLine& code) {
  std::string text = code.function.empty() ? std::string("??") : code.function;
  if (!code.file.empty())
    text += code.line == 0 ? fmt::format("  {}", code.file) : fmt::format("  {}:{}", code.file, code.line);
  else if (!code.module.empty())
    text += fmt::format("  {}+{:#x}", code.module, code.offset);
  if (code.inlined) text += "  (inlined)";
  return text;
}

void trace(std::string& out, const std::string& what, const Trace& lines, const TextOptions& options) {
  if (lines.empty()) return;
  line(out, 4, "{}", what);
  size_t shown = 0, left = 0;
  bool only_wrappers = std::all_of(lines.begin(), lines.end(), [](const CodeLine& code) { return code.folded; });
  for (const CodeLine& code : lines) {
    if (code.folded && !options.full_stacks && !only_wrappers) continue;
    if (shown < options.depth || options.full_stacks) {
      line(out, 6, "#{:<2} {}", shown++, code_line(code));
    } else {
      ++left;
    }
  }
  if (left > 0) line(out, 6, "... and {} more (--full-stacks)", left);
}

// What each thread has, waits for, and therefore does not do.
void diagram(std::string& out, const Finding& finding) {
  for (const Hop& hop : finding.hops) {
    const std::string_view verb = hop.holds ? "holds" : "is to";
    std::string who = in_words(hop.thread);
    if (hop.thread.run != 0) who += fmt::format(" (in run {})", hop.thread.run);
    else if (hop.thread.tid != 0) who += fmt::format(" (tid {})", hop.thread.tid);
    if (!hop.thread.starts_in.empty() && hop.thread.starts_in != hop.thread.name) who += fmt::format(", started in {}()", hop.thread.starts_in);
    line(out, 2, "{}", who);
    if (hop.owed.object != 0 || !hop.owed.name.empty() || hop.owed.kind != dept::Kind::kUnknown) {
      if (hop.holds)
        line(out, 4, "{:<10}{:<40} {}", verb, in_words(hop.owed), hop.start.empty() ? "" : place_in_words(hop.start));
      else
        line(out, 4, "{:<10}{:<40} {}", verb, promise(hop.owed), hop.event.empty() ? "" : place_in_words(hop.event));
    }
    line(out, 4, "{:<10}{:<40} {}", hop.timed ? "waits (t)" : "waits for", in_words(hop.wanted), place_in_words(hop.wait));
    if (!hop.interrupted_by.empty()) line(out, 14, "inside {}, which can come while the above is held", hop.interrupted_by);
    for (const Thing& guard : hop.guards) line(out, 14, "with {} held", in_words(guard));
  }
}

void stacks(std::string& out, const Finding& finding, const TextOptions& options) {
  for (const Hop& hop : finding.hops) {
    const std::string who = in_words(hop.thread);
    if (hop.holds)
      trace(out, fmt::format("{} {}:", who, how_taken(hop.owed)), hop.start, options);
    else
      trace(out, fmt::format("{} was asked for:", in_words(hop.owed)), hop.start, options);
    trace(out, fmt::format("{} waits for {}:", who, in_words(hop.wanted)), hop.wait, options);
    trace(out, fmt::format("{} {}:", who, done(hop.owed)), hop.event, options);
  }
  if (!finding.stack.empty()) trace(out, finding.stack_is + ":", finding.stack, options);
  if (!finding.other_stack.empty()) trace(out, finding.other_stack_is + ":", finding.other_stack, options);
}

}  // namespace

std::string render_text(const Finding& finding, const TextOptions& options) {
  std::string out;
  line(out, 0, "{}: {}", name_of(finding.level), finding.title);
  line(out, 2, "{}{}{}, {}{}", finding.program, finding.program.empty() ? "" : ", ", finding.pid == 0 ? std::string("several runs") : fmt::format("process {}", finding.pid),
       fmt::format("finding {}", finding.id), finding.raised ? ", told before at a lower level" : "");
  line(out, 0, "");
  diagram(out, finding);
  if (!finding.hops.empty()) line(out, 0, "");
  paragraph(out, 2, finding.narrative);
  for (const std::string& who : finding.behind) line(out, 2, "behind them: {}", who);
  for (const std::string& why : finding.refutations) paragraph(out, 2, "not higher: " + why);
  for (const std::string& what : finding.suggestions) paragraph(out, 2, "what helps: " + what);
  if (options.stacks) {
    std::string text;
    stacks(text, finding, options);
    if (!text.empty()) {
      line(out, 2, "stacks");
      out += text;
    }
  }
  line(out, 0, "");
  return out;
}

std::string render_summary(const Outcome& outcome, Level shown, bool stats) {
  std::string out;
  std::array<uint64_t, 4> levels{};
  for (const Finding& finding : outcome.findings) ++levels[static_cast<size_t>(finding.level) & 3];
  uint64_t told = 0;
  for (size_t i = static_cast<size_t>(shown); i < levels.size(); ++i) told += levels[i];
  std::string parts;
  for (size_t i = levels.size(); i-- > 0;)
    if (levels[i] > 0) parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", levels[i], name_of(static_cast<Level>(i)));
  line(out, 0, "dept: {} finding{}{}{}", outcome.findings.size(), plural(outcome.findings.size()), parts.empty() ? "" : ": ", parts);
  if (told < outcome.findings.size()) line(out, 6, "those below '{}' are not shown (--level)", name_of(shown));
  if (outcome.suppressed > 0) line(out, 6, "{} suppressed", outcome.suppressed);
  if (outcome.known > 0) line(out, 6, "{} in the baseline", outcome.known);
  if (!outcome.ended_by.empty()) line(out, 6, "the program was ended by {}", outcome.ended_by);
  if (const size_t count = outcome.processes.size(); count > 1 && !stats) {
    uint64_t threads = 0, edges = 0;
    for (const Outcome::Process& process : outcome.processes) {
      threads += process.threads;
      edges += process.edges;
    }
    line(out, 6, "{} processes: {} thread{}, {} dependenc{} (each: --stats)", count, threads, plural(threads), edges,
         edges == 1 ? "y" : "ies");
  }
  for (const Outcome::Process& process : outcome.processes) {
    const bool lost = !process.dropped.empty() || !process.stopped.empty();
    if (!stats && outcome.processes.size() > 1 && !lost) continue;
    line(out, 6, "process {}: {} thread{}, {} object{} in {} class{}, {} dependenc{}; recorded in {}", process.pid, process.threads,
         plural(process.threads), process.objects, plural(process.objects), process.classes, process.classes == 1 ? "" : "es",
         process.edges, process.edges == 1 ? "y" : "ies", human_size(process.memory));
    if (!process.stopped.empty()) line(out, 8, "its tracker stopped: {}", process.stopped);
    for (const auto& [table, count] : process.dropped) line(out, 8, "no room for {} more {}", count, table);
    if (stats)
      for (const auto& [name, count] : process.counters) line(out, 8, "{:<24} {}", name, count);
  }
  for (const std::string& what : outcome.not_observed) line(out, 6, "not observed: {}", what);
  for (const std::string& what : outcome.unused_suppressions) line(out, 6, "suppression never used: {}", what);
  return out;
}

}  // namespace causeway::findings
