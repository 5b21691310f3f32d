import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.concurrent.locks.*;
import java.util.stream.*;

/** Executors, locks, monitors, fork-join and garbage, so that the machine's own threads work too; prints the results. */
public class Load {
  static long mix(long seed) {
    List<byte[]> garbage = new ArrayList<>();
    for (int i = 0; i < 200; ++i) {
      seed = seed * 6364136223846793005L + 1442695040888963407L;
      garbage.add(new byte[(int) (seed >>> 50)]);
    }
    return seed ^ garbage.size();
  }

  public static void main(String[] arguments) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    List<Future<Long>> futures = new ArrayList<>();
    for (int i = 0; i < 2000; ++i) {
      final int n = i;
      futures.add(pool.submit(() -> mix(n)));
    }
    long sum = 0;
    for (Future<Long> future : futures) sum += future.get();
    System.out.println(sum);

    ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
    Map<Integer, Integer> map = new TreeMap<>();
    CountDownLatch latch = new CountDownLatch(4);
    Object monitor = new Object();
    AtomicInteger turn = new AtomicInteger();
    for (int t = 0; t < 4; ++t) {
      final int me = t;
      pool.execute(() -> {
        for (int i = 0; i < 2000; ++i) {
          lock.writeLock().lock();
          try { map.merge(i % 97, 1, Integer::sum); } finally { lock.writeLock().unlock(); }
          lock.readLock().lock();
          try { map.get(i % 97); } finally { lock.readLock().unlock(); }
          if (i % 20 == 0) {
            synchronized (monitor) {
              try {
                while (turn.get() % 4 != me) monitor.wait();
              } catch (InterruptedException e) { return; }
              turn.incrementAndGet();
              monitor.notifyAll();
            }
          }
        }
        latch.countDown();
      });
    }
    latch.await();
    pool.shutdown();
    System.out.println(map.values().stream().mapToInt(Integer::intValue).sum() + " " + turn.get());
    System.out.println(IntStream.range(0, 200000).parallel().mapToLong(i -> i * 31L % 1009).sum());
    System.gc();
  }
}
