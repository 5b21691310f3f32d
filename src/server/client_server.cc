#include "server/client_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/log.h"
#include "file/native_file.h"
#include "server/client_task.h"

namespace causeway::server {

using wire::Op;

namespace {

constexpr int kNoDescriptorsMs = 10;

}  // namespace

// A connected client thread, and our thread that carries out its calls.
struct ClientServer::Client {
  UniqueFd socket;  // a duplicate, to end the connection from outside; empty once the thread is done with it
  std::atomic<uint64_t> call{0};  // the one being carried out, by its number; 0: none
  sync::Thread thread;
};

// Numbers a client's call, and says when it is over.
class ClientServer::CallInProgress {
 public:
  CallInProgress(ClientServer& server, Client& client)
      : server_(server), client_(client), number_(server.calls_.fetch_add(1, std::memory_order_relaxed) + 1) {
    client_.call.store(number_, std::memory_order_seq_cst);
  }
  ~CallInProgress() {
    client_.call.store(0, std::memory_order_seq_cst);
    if (server_.waiting_.load(std::memory_order_seq_cst) == 0) return;
    sync::MutexLock lock(server_.mutex_);
    server_.call_ended_.notify_all();
  }
  uint64_t number() const { return number_; }

 private:
  ClientServer& server_;
  Client& client_;
  const uint64_t number_;
};

Result<std::unique_ptr<ClientServer>> ClientServer::start(int listener, uapi::Devices& devices,
                                                          std::string file_prefix, memfd::FrozenFiles* frozen) {
  auto files = CW_TRY(OpenFiles::create(std::move(file_prefix)));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return fail_with_errno("cannot serve clients");
  std::unique_ptr<ClientServer> server(new ClientServer(listener, devices, frozen, std::move(files), std::move(stop)));
  server->acceptor_ = CW_TRY(sync::Thread::create(
      "client_acceptor", [self = server.get()](sync::StopToken token) { self->accept_loop(token); }));
  return server;
}

ClientServer::ClientServer(int listener, uapi::Devices& devices, memfd::FrozenFiles* frozen,
                           std::unique_ptr<OpenFiles> files, UniqueFd stop)
    : listener_(listener), devices_(devices), frozen_(frozen), files_(std::move(files)), stop_(std::move(stop)) {}

ClientServer::~ClientServer() {
  acceptor_.request_stop();
  ::eventfd_write(stop_.get(), 1);
  acceptor_.join();
  {
    sync::MutexLock lock(mutex_);
    for (auto& client : clients_)
      if (client->socket) ::shutdown(client->socket.get(), SHUT_RDWR);
  }
  clients_.clear();  // joins them
}

size_t ClientServer::channels() const {
  sync::MutexLock lock(mutex_);
  size_t count = 0;
  for (const auto& client : clients_) count += client->socket ? 1 : 0;
  return count;
}

void ClientServer::collect_finished() {
  std::list<std::unique_ptr<Client>> ended;
  sync::MutexLock lock(mutex_);
  for (auto it = clients_.begin(); it != clients_.end();) {
    auto next = std::next(it);
    if (!(*it)->socket) ended.splice(ended.end(), clients_, it);
    it = next;
  }
  lock.unlock();
}

void ClientServer::accept_loop(const sync::StopToken& stop) {
  while (!stop.stop_requested()) {
    pollfd events[2] = {{listener_, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(events, 2, -1) <= 0 || (events[0].revents & POLLIN) == 0) continue;
    collect_finished();
    UniqueFd connection(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) {
      // No descriptors left: the connection stays in the backlog, and poll() would return at once.
      pollfd end{stop_.get(), POLLIN, 0};
      if (errno == EMFILE || errno == ENFILE) ::poll(&end, 1, kNoDescriptorsMs);
      continue;
    }
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
        (peer.uid != ::getuid() && peer.uid != 0)) {
      log::warn("server", "a client of user {} was refused", peer.uid);
      continue;
    }
    auto client = std::make_unique<Client>();
    client->socket.reset(::fcntl(connection.get(), F_DUPFD_CLOEXEC, 0));
    if (!client->socket) continue;
    auto body = [this, self = client.get(), socket = std::move(connection)]() mutable {
      serve(*self, std::move(socket));
      sync::MutexLock lock(mutex_);
      self->socket.reset();
    };
    sync::MutexLock lock(mutex_);
    Result<sync::Thread> thread = sync::Thread::create("client", std::move(body));
    if (!thread) {
      log::warn("server", "a client was refused: {}", to_string(thread.error()));
      continue;
    }
    client->thread = std::move(*thread);
    clients_.push_back(std::move(client));
  }
}

namespace {

Result<int64_t> open_path(uapi::Devices& devices, ClientTask& task, std::string_view path) {
  file::FileRef file = CW_TRY(devices.open(path, task));
  return CW_TRY(task.install_fd(std::move(file)));
}

Result<int64_t> give_frozen_filter(memfd::FrozenFiles* frozen, ClientTask& task) {
  if (frozen == nullptr) return fail(ENOENT, "this kernel freezes no files");
  UniqueFd filter = CW_TRY(frozen->filter());
  return CW_TRY(task.install_fd(CW_TRY(file::NativeFile::wrap(std::move(filter)))));
}

}  // namespace

void ClientServer::wait_for_calls_of_the_dead(uint64_t call) {
  auto is_one = [&](const std::unique_ptr<Client>& client) {
    uint64_t other = client->call.load(std::memory_order_seq_cst);
    pollfd end{client->socket.get(), POLLRDHUP, 0};
    return other != 0 && other < call && client->socket && ::poll(&end, 1, 0) == 1;
  };
  sync::MutexLock lock(mutex_);
  waiting_.fetch_add(1, std::memory_order_seq_cst);
  while (std::any_of(clients_.begin(), clients_.end(), is_one)) call_ended_.wait(mutex_);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

void ClientServer::serve(Client& client, UniqueFd connection) {
  Result<std::unique_ptr<Channel>> accepted = Channel::accept(std::move(connection));
  if (!accepted) {
    log::debug("server", "no channel for a client: {}", to_string(accepted.error()));
    return;
  }
  Channel& channel = **accepted;
  uint64_t closed = 0;
  while (channel.wait()) {
    CallInProgress in_progress(*this, client);
    // What was closed before this call is released before it is carried out; by a call that a client died in, too: its
    // parent's wait() has returned, which on Linux it does when the call is over.
    files_->reap();
    if (files_->closed() != closed) {
      closed = files_->closed();
      wait_for_calls_of_the_dead(in_progress.number());
    }
    const wire::Message& call = channel.received();
    ClientTask task(channel, *files_);
    std::string_view text(reinterpret_cast<const char*>(call.payload), call.length);
    Result<int64_t> result = fail(EINVAL, "an unknown call");
    switch (call.op) {
      case Op::kOpen: result = open_path(devices_, task, std::string(text)); break;
      case Op::kIoctl: {
        uint32_t command = call.command;
        UserAddr argument(call.address);
        file::FileRef file = files_->find(call.cookie);
        result = file == nullptr ? fail(ENODEV, "the file was another kernel's")
                                 : file->ioctl(task, command, argument);
        break;
      }
      case Op::kFrozenFilter: result = give_frozen_filter(frozen_, task); break;
      case Op::kIsFrozen: result = frozen_ != nullptr && frozen_->contains({call.cookie, call.address}); break;
      case Op::kStat: {
        uapi::Device* device = devices_.find(text);
        wire::StatResult found{};
        if (device != nullptr) found = {S_IFCHR | device->mode(), uapi::kMiscMajor, device->minor(), 0};
        wire::Message& done = task.done(device != nullptr ? Result<int64_t>(0) : fail(ENOENT, "no such device"));
        done.length = sizeof found;
        std::memcpy(done.payload, &found, sizeof found);
        channel.pass(done);
        continue;
      }
      default: break;
    }
    channel.pass(task.done(result));
  }
}

}  // namespace causeway::server
