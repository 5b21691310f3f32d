// What `causeway dept` does with findings: filters them, prints those that are to be seen at once, keeps all for the end.
//
//   Teller teller(settings);
//   CW_TRY(teller.prepare(&reason));               // suppressions and baseline are read, files to be written can be
//   teller.tell(recordings.news(teller.names_from()));
//   return teller.finish(recordings, status);      // summary and files; the exit status
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "findings/recordings.h"
#include "findings/suppressions.h"

namespace causeway::cli {

struct TellerSettings {
  std::string json_file, sarif_file, dot_file, svg_file, html_file, graph_file;
  std::vector<std::string> suppressions;
  std::string baseline, write_baseline;
  std::string level = "likely";
  uint64_t max_reports = 100;
  int exit_code = -1;  // none
  bool json = false, stats = false, full_stacks = false, quiet = false;
  bool to_stdout = false;  // nobody else uses it
};

class Teller {
 public:
  explicit Teller(const TellerSettings& settings);
  Status prepare(std::string* reason);
  // Findings below this level are only counted: nobody will read their names.
  findings::Level names_from() const;
  void tell(std::vector<findings::Finding> news);
  // The watchdog's findings that turned out not to be so: they stay as information.
  void take_back(const std::vector<std::string>& ids);
  // What several runs show together; left out is what this one has shown by itself.
  void tell_of_runs(std::vector<findings::Finding> findings);
  void note_not_observed(std::string what) { outcome_.not_observed.push_back(std::move(what)); }
  // How the program ended, if a signal did it: as in a shell.
  void note_signal(std::string signal) { outcome_.ended_by = std::move(signal); }
  // `status` if there is nothing to say, or nobody asked for another one. False in `*written`: a file could not be written, which has been said.
  int finish(const findings::Recordings& recordings, const std::string& program, int status);
  // Text of ours between that of the program.
  void print(const std::string& text) const;

 private:
  bool write(const std::string& path, const std::string& text);

  TellerSettings settings_;
  findings::Level level_ = findings::Level::kLikely;
  findings::Suppressions suppressions_;
  findings::Baseline baseline_;
  findings::Outcome outcome_;
  std::map<std::string, findings::Level> told_;  // whether it was shown or not
  uint64_t shown_ = 0, not_shown_ = 0;
};

}  // namespace causeway::cli
