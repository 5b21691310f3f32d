// The database of runs: a file in which each run leaves what it has seen, so that a circle of which each saw a part is found.
//
//   if (auto usable = Database::check(file); !usable) ...                          // before the program is run
//   auto found = CW_TRY(Database(file).merge(recordings.all(), recordings.symbols()));
//
// It keeps a Past for each program, by build id: another build begins anew. Runs that end at the same time wait for each other; the
// file is replaced as a whole. It is a stranger's when it is read: everything in it is checked.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "dept/judge.h"
#include "findings/past.h"
#include "findings/recordings.h"

namespace causeway::findings {

class Database {
 public:
  explicit Database(std::string path) : path_(std::move(path)) {}

  // Whether it can be read, and written. It need not exist. EINVAL: it is none, or damaged; ENOTSUP: of another version.
  Status check() const;
  // Adds the recordings of one run, and returns what only several runs close, of the programs that ran in this one.
  Result<std::vector<Finding>> merge(const std::vector<std::unique_ptr<Recording>>& run, Symbols& symbols,
                                     const dept::Judge& judge = {}) const;

 private:
  std::string path_;
};

// The file's text.
using Pasts = std::map<std::string, Past>;
std::string write_pasts(const Pasts& pasts);
Result<Pasts> parse_pasts(const std::string& text);

}  // namespace causeway::findings
