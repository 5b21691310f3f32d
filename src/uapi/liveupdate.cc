#include "uapi/liveupdate.h"

#include <string>

#include "base/point.h"
#include "uapi/abi/liveupdate.h"
#include "uapi/extensible.h"
#include "uapi/session_file.h"

namespace causeway::uapi {
namespace {

// Gives the client a descriptor for `session`. On failure the file is detached and the caller still has the session.
Status hand_out(file::Task& task, UserAddr argument, uint32_t size, abi::SessionRequest& request,
                const luo::SessionRef& session) {
  auto file = std::make_shared<SessionFile>(session);
  auto fd = task.install_fd(file);
  Status done;
  if (!fd.has_value()) {
    done = fail(fd.error());
  } else {
    request.fd = *fd;
    done = write_response(task, argument, size, request);
    if (!done.has_value()) task.uninstall_fd(*fd);
  }
  // Even if the client has duplicated the descriptor meanwhile, the session is not behind it.
  if (!done.has_value()) file->detach();
  return done;
}

class LiveUpdateFile : public file::File {
 public:
  LiveUpdateFile(luo::Orchestrator& orchestrator, std::shared_ptr<std::atomic<bool>> in_use)
      : orchestrator_(orchestrator), in_use_(std::move(in_use)) {}
  ~LiveUpdateFile() override { in_use_->store(false, std::memory_order_release); }

  std::string link_text() const override { return std::string(LiveUpdateDevice::kPath); }

  Result<int64_t> ioctl(file::Task& task, uint32_t command, UserAddr argument) override {
    // The order of these checks is part of the interface.
    const uint32_t number = abi::command_number(command);
    if (number > abi::command_number(abi::kRetrieveSession)) return fail(EINVAL, "not a command of the device");
    const uint32_t size = CW_TRY(read_size(task, argument));
    if (command != abi::liveupdate_command(number))
      return fail(ENOTTY, "the command's type, direction or size is wrong");
    abi::SessionRequest request;
    CW_TRY(read_request(task, argument, size, &request));
    CW_TRY(task.expect_fd());  // before anything else is said about the request
    if (command == abi::kCreateSession) {
      CW_TRY(create(task, argument, size, request));
    } else {
      CW_TRY(retrieve(task, argument, size, request));
    }
    return 0;
  }

 private:
  static std::string_view name_in(const abi::SessionRequest& request) {
    return {request.name, ::strnlen(request.name, sizeof(request.name))};
  }

  Status create(file::Task& task, UserAddr argument, uint32_t size, abi::SessionRequest& request) {
    luo::SessionRef session = CW_TRY(orchestrator_.create_session(name_in(request)));
    CW_POINT("uapi.create_session.before_fd");
    Status given = hand_out(task, argument, size, request, session);
    if (!given.has_value()) session->close();
    return given;
  }

  Status retrieve(file::Task& task, UserAddr argument, uint32_t size, abi::SessionRequest& request) {
    luo::SessionRef session = CW_TRY(orchestrator_.retrieve_session(name_in(request)));
    CW_POINT("uapi.retrieve_session.before_fd");
    Status given = hand_out(task, argument, size, request, session);
    // Nothing is lost: the client may ask again.
    if (!given.has_value()) session->cancel_retrieve();
    return given;
  }

  luo::Orchestrator& orchestrator_;
  std::shared_ptr<std::atomic<bool>> in_use_;
};

}  // namespace

Result<file::FileRef> LiveUpdateDevice::open(file::Task&) {
  if (!orchestrator_.is_enabled()) return fail(ENOENT, "LUO is off");
  if (in_use_->exchange(true, std::memory_order_acquire)) return fail(EBUSY, "the device is open already");
  auto file = std::make_shared<LiveUpdateFile>(orchestrator_, in_use_);  // releases it on failure
  CW_TRY(orchestrator_.deserialize());
  return file;
}

}  // namespace causeway::uapi
