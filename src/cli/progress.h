// One line on a terminal that changes while something takes its time; nothing where stderr is no terminal.
//
//   Progress progress(Progress::Show::kIfTerminal);
//   progress.show(fmt::format("{:.1f} s  update {}/{}", elapsed, done, updates));
//   progress.clear();     // the destructor does it too
#pragma once

#include <string_view>

namespace causeway::cli {

class Progress {
 public:
  enum class Show { kIfTerminal, kNever };
  explicit Progress(Show show);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::string_view line);
  void clear();

 private:
  bool on_;
  bool visible_ = false;
};

}  // namespace causeway::cli
