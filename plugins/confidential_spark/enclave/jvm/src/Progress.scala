package confidentialspark

import org.apache.spark.SparkContext

/** Prints how many tasks of the running stages are done, at most once a second, as `agent/progress.py` reads it. */
final class Progress(context: SparkContext) extends AutoCloseable {
  private val thread = new Thread(() => watch(), "progress")
  thread.setDaemon(true)
  thread.start()

  override def close(): Unit = thread.interrupt()

  private def watch(): Unit =
    try
      while (true) {
        Thread.sleep(Progress.IntervalMs)
        print()
      }
    catch { case _: InterruptedException => () }

  private def print(): Unit = {
    val tracker = context.statusTracker
    val stages = tracker.getActiveStageIds().flatMap(tracker.getStageInfo(_))
    val done = stages.map(_.numCompletedTasks).sum
    val total = stages.map(_.numTasks).sum
    if (total > 0)
      println(s"""PROGRESS {"stage": "spark", "done": $done, "total": $total, "text": "$done of $total tasks"}""")
  }
}

object Progress {
  private val IntervalMs = 1000L
}
