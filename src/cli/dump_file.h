// The file that a dump is written into: made anew, and gone again unless it is kept.
//
//   auto file = DumpFile::create("handover.elf", &reason);
//   write_core(..., file->fd(), ...);
//   file->keep();
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace causeway::cli {

class DumpFile {
 public:
  // Readable by its owner alone: it holds programs' memory. A regular file of that name is replaced. EEXIST: something
  // else has the name; those of open(2). `reason` is for people.
  static Result<DumpFile> create(const std::string& path, std::string* reason);
  DumpFile(DumpFile&&) = default;
  ~DumpFile();

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  // The dump is whole.
  void keep() { fd_.reset(); }

 private:
  DumpFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;  // empty: kept, or moved away
};

}  // namespace causeway::cli
