// what: shape of a JDBC driver: closing a connection closes its statements, and a statement's result asks the connection, each under
// its own monitor
// truth: D
// expect: likely kind=lock hops=2
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "corpus.h"

class Statement;

class Connection {
 public:
  void add(Statement* statement) { statements_.push_back(statement); }
  void close();
  bool is_open() {
    std::lock_guard hold(monitor_);
    return open_;
  }

 private:
  std::recursive_mutex monitor_;
  bool open_ = true;
  std::vector<Statement*> statements_;
};

class Statement {
 public:
  explicit Statement(Connection& connection) : connection_(connection) { connection.add(this); }
  void close() {
    std::lock_guard hold(monitor_);
    open_ = false;
  }
  int results() {
    std::lock_guard hold(monitor_);
    return open_ && connection_.is_open() ? 1 : 0;
  }

 private:
  std::recursive_mutex monitor_;
  Connection& connection_;
  bool open_ = true;
};

void Connection::close() {
  std::lock_guard hold(monitor_);
  for (Statement* statement : statements_) statement->close();
  open_ = false;
}

int main() {
  auto connection = std::make_unique<Connection>();
  auto statement = std::make_unique<Statement>(*connection);
  int results = 0;
  std::thread reader([&] { results = statement->results(); });
  std::thread closer([&] {
    at_ms(30);
    connection->close();
  });
  reader.join();
  closer.join();
  return results == 1 ? 0 : 1;
}
