// Which findings are not to be told, and why: files that people write.
//
//   Suppressions rules;
//   CW_TRY(rules.read("dept.supp", &reason));
//   if (rules.apply(&finding) == Suppressions::Verdict::kHidden) ...
//   for (const std::string& rule : rules.unused()) ...
//
// One rule a line; docs/dept.md has the grammar:
//   match function NAME file PATH module LIB object NAME [level LEVEL] [until YYYY-MM-DD]   # all given ones, on any hop
//   id 0123456789abcdef
//   deadlock:NAME                                   as ThreadSanitizer's: part of a function's, file's or module's name
//   { ... fun:NAME obj:LIB ... }                    as Valgrind's: innermost first, within one stack
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "findings/finding.h"

namespace causeway::findings {

class Suppressions {
 public:
  // `today` as YYYYMMDD: rules that have expired are kept, and said.
  explicit Suppressions(unsigned today) : today_(today) {}

  // EINVAL: `reason` says which line and what is wrong; errors of open().
  Status read(const std::string& path, std::string* reason);
  Status parse(const std::string& name, const std::string& text, std::string* reason);

  enum class Verdict : uint8_t { kTold, kHidden };
  // A rule with a level lowers the finding to it, and says so in its refutations; one without hides it.
  Verdict apply(Finding* finding);
  // "dept.supp:3: match function f", those that matched nothing; expired ones are marked.
  std::vector<std::string> unused() const;

 private:
  struct Condition {
    enum class What : uint8_t { kFunction, kFile, kModule, kObject, kId, kAnyPart } what;
    std::string pattern;
  };
  struct Rule {
    std::string where, text;
    std::vector<Condition> conditions;   // each must hold somewhere
    std::vector<std::string> frames;     // Valgrind's: "fun:", "obj:", "..."
    bool has_level = false;
    Level level = Level::kInfo;
    bool expired = false;
    uint64_t used = 0;
  };
  Status parse_line(const std::string& where, const std::string& line, std::string* reason);
  static bool matches(const Rule& rule, const Finding& finding);

  std::vector<Rule> rules_;
  unsigned today_;
};

// Findings that are known, and not new: "ID LEVEL title" a line.
class Baseline {
 public:
  Status read(const std::string& path);
  // It is in it, at this level or a higher one.
  bool knows(const Finding& finding) const;
  static std::string write(const std::vector<Finding>& findings);

 private:
  std::vector<std::pair<std::string, Level>> known_;
};

// All of it happens within the dynamic loader and the run-time libraries of C and C++, none of it in the program.
bool is_of_the_runtime(const Finding& finding);

}  // namespace causeway::findings
