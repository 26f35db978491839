package confidentialspark

import java.util.Locale
import org.apache.spark.sql.catalyst.analysis._
import org.apache.spark.sql.catalyst.expressions.Expression
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.trees.TreeNode
import org.apache.spark.sql.execution.datasources.LogicalRelation
import org.apache.spark.sql.sources.BaseRelation
import scala.collection.mutable

/** Accepts queries over registered views, and nothing that could do or read anything else.
  *
  * It looks at all that a node was made of, because Spark's own traversals leave out some of it: subqueries,
  * and the definitions of WITH and WINDOW.
  *
  * @param name what is judged, for messages
  * @param own whether the runner itself made a relation
  * @param views the sizes of the views that there are, by name
  */
final class ClosedList(name: String, own: BaseRelation => Boolean, views: Map[String, Long] = Map.empty) {
  private val definitions = mutable.Map(views.toSeq: _*)

  /** Return the plan's size.
    *
    * @throws Refused `job-not-a-query`
    */
  def require(plan: LogicalPlan): Long = size(plan, 0)

  /** The nodes of a value, each use of a view or a common definition in full: Spark copies them to each. */
  private def size(value: Any, depth: Int): Long = value match {
    case node: TreeNode[_] =>
      requireNode(node)
      if (depth > ClosedList.MaxDepth) throw tooLarge()
      val total = 1 + parts(node).foldLeft(0L)((sum, part) => sum + size(part, depth + 1))
      if (total > ClosedList.MaxNodes) throw tooLarge() else total
    case many: Traversable[_] => many.foldLeft(0L)((sum, part) => sum + size(part, depth))
    case Some(one) => size(one, depth)
    case (name: String, definition: SubqueryAlias) => define(name, size(definition, depth))
    case (first, second) => size(first, depth) + size(second, depth)
    case use: ClosedList.Use => definitions.getOrElse(use.name, 0L)
    case _ => 0
  }

  private def parts(node: TreeNode[_]): Iterator[Any] = node match {
    case relation: LogicalRelation => relation.output.iterator
    case relation: UnresolvedRelation => Iterator(ClosedList.Use(relation.multipartIdentifier.head))
    case UnresolvedWith(query, definitions) => Iterator(definitions, query)
    case product: Product => product.productIterator
  }

  /** Of definitions of one name, in scopes of their own, the largest counts. */
  private def define(name: String, size: Long): Long = {
    definitions(name) = size.max(definitions.getOrElse(name, 0L))
    size
  }

  private def requireNode(node: TreeNode[_]): Unit = node match {
    case function: UnresolvedFunction => requireName(AllowedNodes.Functions, "function", function.nameParts)
    case generator: UnresolvedGenerator =>
      requireName(AllowedNodes.Functions, "function", generator.name.database.toSeq :+ generator.name.funcName)
    case function: UnresolvedTableValuedFunction =>
      requireName(AllowedNodes.TableFunctions, "table function", function.name)
    case relation: UnresolvedRelation =>
      if (relation.multipartIdentifier.size != 1 || relation.isStreaming || !relation.options.isEmpty)
        throw foreign(s"table ${relation.multipartIdentifier.mkString(".")}")
    case relation: LogicalRelation => if (!own(relation.relation)) throw foreign("a table that is not its input")
    case plan: LogicalPlan => if (!AllowedNodes.Plans(plan.getClass)) throw foreign(plan.nodeName)
    case expression: Expression =>
      if (!AllowedNodes.Expressions(expression.getClass)) throw foreign(expression.getClass.getSimpleName)
    case other => throw foreign(other.nodeName)
  }

  private def requireName(known: Set[String], what: String, parts: Seq[String]): Unit =
    if (parts.size != 1 || !known(parts.head.toLowerCase(Locale.ROOT)))
      throw foreign(s"$what ${parts.mkString(".")}")

  private def foreign(what: String): Refused =
    Refused.notAQuery(s"$name is more than a query.", what, "the plan nodes and functions of the runner's list")

  private def tooLarge(): Refused = {
    val expected = s"at most ${ClosedList.MaxNodes} nodes, nested at most ${ClosedList.MaxDepth} deep"
    Refused.notAQuery(s"$name is too large.", "more", expected)
  }
}

object ClosedList {
  val MaxDepth = 400
  val MaxNodes = 20000
  private final case class Use(name: String)
}
