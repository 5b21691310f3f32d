# Threads, queues, mutexes, condition variables and processes of Ruby; prints the results.
require 'digest'
require 'monitor'

queue, results = SizedQueue.new(10), Queue.new
consumers = 4.times.map { Thread.new { while (item = queue.pop) != :end do results << Digest::SHA256.hexdigest(item.to_s * 2000)[0, 8] end } }
1500.times { |i| queue << i }
4.times { queue << :end }
consumers.each(&:join)
found = []
found << results.pop until results.empty?
puts Digest::SHA256.hexdigest(found.sort.join)

mutex, turned, turn = Mutex.new, ConditionVariable.new, 0
threads = 3.times.map do |me|
  Thread.new do
    200.times do
      mutex.synchronize do
        turned.wait(mutex) until turn % 3 == me
        turn += 1
        turned.broadcast
      end
    end
  end
end
threads.each(&:join)
puts turn

monitor = Monitor.new
count = 0
8.times.map { Thread.new { 500.times { monitor.synchronize { monitor.synchronize { count += 1 } } } } }.each(&:join)
puts count
puts 4.times.map { |i| IO.popen(['echo', i.to_s]) { |io| io.read.to_i } }.sum
puts Process.wait2(fork { exit 7 })[1].exitstatus
