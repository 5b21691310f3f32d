// The open file of a session. Its release closes the session: unpreserves (outgoing) or finishes (incoming)
// everything in it.
#pragma once

#include <string>

#include "file/file.h"
#include "file/task.h"
#include "luo/session.h"
#include "sync/guarded.h"

namespace causeway::uapi {

class SessionFile : public file::File {
 public:
  explicit SessionFile(luo::SessionRef session);
  ~SessionFile() override;

  // The commands of a session (abi/liveupdate.h). EBADF after detach().
  Result<int64_t> ioctl(file::Task& task, uint32_t command, UserAddr argument) override;
  std::string link_text() const override;  // "anon_inode:[luo_session] NAME"

  // Takes the session out: this file did not reach its client, and its release is to do nothing.
  luo::SessionRef detach();

 private:
  const std::string name_;
  sync::Guarded<luo::SessionRef> session_{sync::LockName("uapi.session_file")};
};

}  // namespace causeway::uapi
