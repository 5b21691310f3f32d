#include "cli/dept_teller.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "cli/brief.h"
#include "findings/graph_picture.h"

namespace causeway::cli {
namespace {

using findings::Finding;
using findings::Level;

unsigned today() {
  const time_t now = ::time(nullptr);
  tm date{};
  ::localtime_r(&now, &date);
  return static_cast<unsigned>((date.tm_year + 1900) * 10000 + (date.tm_mon + 1) * 100 + date.tm_mday);
}

std::string dumped(const nlohmann::json& value) {
  return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

Teller::Teller(const TellerSettings& settings) : settings_(settings), suppressions_(today()) {
  findings::parse_level(settings.level, &level_);
}

Status Teller::prepare(std::string* reason) {
  for (const std::string& path : settings_.suppressions) CW_TRY(suppressions_.read(path, reason));
  // Not after hours.
  for (const std::string* path : {&settings_.json_file, &settings_.sarif_file, &settings_.dot_file, &settings_.svg_file, &settings_.html_file,
                                  &settings_.graph_file, &settings_.write_baseline}) {
    if (path->empty() || UniqueFd(::open(path->c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666))) continue;
    const int error = errno;
    *reason = fmt::format("cannot write '{}': {}", *path, std::strerror(error));
    return fail(error, "cannot write a file");
  }
  if (settings_.baseline.empty()) return {};
  if (auto read = baseline_.read(settings_.baseline); !read) {
    *reason = fmt::format("{}: {}", settings_.baseline, brief(read.error()));
    return fail(read.error());
  }
  return {};
}

// One write, so that lines of the program do not come between.
void Teller::print(const std::string& text) const {
  const int fd = settings_.to_stdout ? STDOUT_FILENO : STDERR_FILENO;
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written <= 0) return;
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

Level Teller::names_from() const {
  const bool all_are_written = settings_.json || !settings_.json_file.empty() || !settings_.sarif_file.empty();
  if (all_are_written || !settings_.suppressions.empty()) return Level::kInfo;
  return level_;
}

void Teller::tell(std::vector<Finding> news) {
  for (Finding& finding : news) {
    told_[finding.id] = std::max(told_[finding.id], finding.level);
    if (findings::is_of_the_runtime(finding)) {
      finding.level = Level::kInfo;
      finding.refutations.emplace_back("all of it happens inside the run-time libraries of C and C++");
    }
    if (suppressions_.apply(&finding) == findings::Suppressions::Verdict::kHidden) {
      ++outcome_.suppressed;
      continue;
    }
    if (baseline_.knows(finding)) {
      ++outcome_.known;
      continue;
    }
    // A raised one takes the place of what it was.
    std::erase_if(outcome_.findings, [&](const Finding& told) { return told.id == finding.id && told.level <= finding.level; });
    if (finding.level >= level_ && !settings_.json) {
      if (shown_ < settings_.max_reports) {
        ++shown_;
        print("\n" + findings::render_text(finding, {.full_stacks = settings_.full_stacks}));
      } else {
        ++not_shown_;
      }
    }
    outcome_.findings.push_back(std::move(finding));
  }
}

void Teller::take_back(const std::vector<std::string>& ids) {
  for (Finding& finding : outcome_.findings) {
    if (finding.problem != dept::Problem::kStuck || std::find(ids.begin(), ids.end(), finding.id) == ids.end()) continue;
    if (finding.level >= level_ && !settings_.json)
      print(fmt::format("\ndept: process {} went on: finding {} is taken back\n", finding.pid, finding.id));
    finding.level = Level::kInfo;
    finding.refutations = {"they waited for long, and went on"};
  }
}

void Teller::tell_of_runs(std::vector<Finding> findings) {
  std::erase_if(findings, [&](const Finding& finding) {
    const auto known = told_.find(finding.id);
    return known != told_.end() && known->second >= finding.level;
  });
  tell(std::move(findings));
}

bool Teller::write(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  errno = 0;
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.flush();
  if (out) return true;
  fmt::print(stderr, "causeway dept: cannot write '{}': {}\n", path, std::strerror(errno));
  return false;
}

int Teller::finish(const findings::Recordings& recordings, const std::string& program, int status) {
  outcome_.program = program;
  recordings.fill(&outcome_);
  outcome_.unused_suppressions = suppressions_.unused();
  std::stable_sort(outcome_.findings.begin(), outcome_.findings.end(), [](const Finding& a, const Finding& b) { return a.level > b.level; });

  std::vector<Finding> shown;
  std::string dot, svg;
  for (const Finding& finding : outcome_.findings) {
    if (finding.level < level_) continue;
    shown.push_back(finding);
    if (!finding.hops.empty()) dot += findings::dot(finding);
    // One picture a file: that of the gravest.
    if (!finding.hops.empty() && svg.empty()) svg = findings::svg(finding);
  }
  bool written = write(settings_.json_file, settings_.json_file.empty() ? "" : dumped(to_json(outcome_)));
  written &= write(settings_.sarif_file, settings_.sarif_file.empty() ? "" : dumped(to_sarif(outcome_)));
  written &= write(settings_.html_file, settings_.html_file.empty() ? "" : html(outcome_, level_));
  written &= write(settings_.graph_file, settings_.graph_file.empty() ? "" : findings::graph_picture(recordings));
  written &= write(settings_.write_baseline, findings::Baseline::write(shown));
  // Nothing found, nothing to draw: an old picture must not stay for a new one.
  written &= write(settings_.dot_file, dot);
  written &= write(settings_.svg_file, svg);

  if (settings_.json) {
    print(dumped(to_json(outcome_)));
  } else if (!settings_.quiet) {
    if (not_shown_ > 0) print(fmt::format("dept: {} more findings are not shown (--max-reports)\n", not_shown_));
    print(findings::render_summary(outcome_, level_, settings_.stats));
  }
  if (settings_.exit_code >= 0 && !shown.empty()) return settings_.exit_code;
  return written || status != 0 ? status : 1;
}

}  // namespace causeway::cli
