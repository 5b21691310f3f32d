#include "uapi/session_file.h"

#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "uapi/abi/liveupdate.h"
#include "uapi/extensible.h"

namespace causeway::uapi {
namespace {

using luo::Session;

// One command, once it is known to be for this kind of session.
struct Call {
  file::Task& task;
  UserAddr argument;
  uint32_t size;

  template <typename T>
  Status read(T* request) const {
    return read_request(task, argument, size, request);
  }
  template <typename T>
  Result<int64_t> respond(const T& response) const {
    CW_FAIL_POINT("uapi.session.before_response");
    CW_TRY(write_response(task, argument, size, response));
    return 0;
  }
};

Result<int64_t> preserve_fd(Session& session, const Call& call) {
  abi::FdRequest request;
  CW_TRY(call.read(&request));
  CW_TRY(session.preserve(request.token, call.task.get_file(request.fd)));
  auto done = call.respond(request);
  // The program is told that it failed, so it must not have happened.
  if (!done.has_value()) (void)session.unpreserve(request.token);
  return done;
}

Result<int64_t> retrieve_fd(Session& session, const Call& call) {
  abi::FdRequest request;
  CW_TRY(call.read(&request));
  // A failed retrieval is final, so it is not tried if its file could not be given away.
  CW_TRY(call.task.expect_fd());
  request.fd = CW_TRY(call.task.install_fd(CW_TRY(session.retrieve(request.token))));
  auto done = call.respond(request);
  if (!done.has_value()) call.task.uninstall_fd(request.fd);
  return done;
}

Result<int64_t> finish(Session& session, const Call& call) {
  abi::FinishRequest request;
  CW_TRY(call.read(&request));
  if (request.reserved != 0) return fail(EINVAL, "FINISH: reserved is not 0");
  CW_TRY(session.finish());
  return call.respond(request);
}

Result<int64_t> get_name(Session& session, const Call& call) {
  abi::NameRequest request;
  CW_TRY(call.read(&request));
  if (request.reserved != 0) return fail(EINVAL, "GET_NAME: reserved is not 0");
  std::memset(request.name, 0, sizeof(request.name));
  std::memcpy(request.name, session.name().data(), session.name().size());
  return call.respond(request);
}

enum class For : uint8_t { kOutgoing, kIncoming, kBoth };

struct Command {
  uint32_t value;
  For kind;
  Result<int64_t> (*execute)(Session&, const Call&);
};
constexpr Command kCommands[] = {
    {abi::kSessionPreserveFd, For::kOutgoing, preserve_fd},
    {abi::kSessionRetrieveFd, For::kIncoming, retrieve_fd},
    {abi::kSessionFinish, For::kIncoming, finish},
    {abi::kSessionGetName, For::kBoth, get_name},
};

const Command* find(uint32_t command) {
  for (const Command& known : kCommands)
    if (abi::command_number(known.value) == abi::command_number(command)) return &known;
  return nullptr;
}

bool is_for(const Command& command, const Session& session) {
  return command.kind == For::kBoth || (command.kind == For::kIncoming) == session.is_incoming();
}

}  // namespace

SessionFile::SessionFile(luo::SessionRef session) : name_(session->name()) {
  session_.with([&](luo::SessionRef& own) { own = std::move(session); });
}

SessionFile::~SessionFile() {
  if (luo::SessionRef session = detach()) session->close();
}

luo::SessionRef SessionFile::detach() {
  return session_.with([](luo::SessionRef& own) { return std::exchange(own, nullptr); });
}

std::string SessionFile::link_text() const {
  return "anon_inode:[luo_session] " + name_;
}

Result<int64_t> SessionFile::ioctl(file::Task& task, uint32_t command, UserAddr argument) {
  luo::SessionRef session = session_.with([](const luo::SessionRef& own) { return own; });
  if (session == nullptr) return fail(EBADF, "the session was never given to this descriptor");
  // The order of these checks is part of the interface.
  const Command* known = find(command);
  if (known == nullptr) return fail(EINVAL, "not a command of a session");
  const uint32_t size = CW_TRY(read_size(task, argument));
  if (known->value != command) return fail(ENOTTY, "the command's type, direction or size is wrong");
  if (!is_for(*known, *session)) return fail(EINVAL, "the command is for the other kind of session");
  return known->execute(*session, {task, argument, size});
}

}  // namespace causeway::uapi
