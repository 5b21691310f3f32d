// The recordings of one run: a directory into which each process of a program writes its own, while it is watched.
//
//   Recordings recordings(directory);
//   while (running) for (Finding& finding : recordings.news()) ...     // what was found since the last call
//   recordings.fill(&outcome);                                         // numbers of every process
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "findings/render.h"
#include "findings/story.h"

namespace causeway::findings {

struct Recording {
  Recording(std::string path_, Symbols& symbols) : path(std::move(path_)), story(arena, symbols) {}

  std::string path;
  dept::Arena arena;
  Story story;
  std::vector<uint32_t> told;  // sequence of each report that was told
};

class Recordings {
 public:
  // A directory of *.dept files, or one such file. It need not exist yet.
  explicit Recordings(std::string where) : where_(std::move(where)) {}

  // Files that have come, or become whole, since the last call. ENOENT: there is nothing at all; EINVAL: none is a recording.
  Status look();
  // Reports made or raised since the last call, each finding once however many processes made it. Those below `named` are told without
  // names: to read the symbols of a large program takes longer than many a run.
  std::vector<Finding> news(Level named = Level::kInfo);
  // Processes, what their counters say was not seen.
  void fill(Outcome* outcome) const;

  const std::vector<std::unique_ptr<Recording>>& all() const { return recordings_; }
  Symbols& symbols() { return symbols_; }

 private:
  bool open(const std::string& path);

  std::string where_;
  Symbols symbols_;
  std::vector<std::unique_ptr<Recording>> recordings_;
  std::set<std::string> opened_;
  std::map<std::string, Level> told_;
};

}  // namespace causeway::findings
