/// Tracks the partition numbers that are being queried, and which numbers share a query. A number that did not answer
/// is queried alone until it answers, so it does not delay the others. A pure value.
struct Asking: Sendable {
    private var open: Set<Int32> = []
    private var silent: Set<Int32> = []

    /// Groups the `numbers` that are not being queried into queries: one query for all numbers that answer, and one for
    /// each number that does not.
    mutating func questions(for numbers: [Int32]) -> [[Int32]] {
        let free = numbers.filter { !open.contains($0) }
        open.formUnion(free)
        let together = free.filter { !silent.contains($0) }
        return (together.isEmpty ? [] : [together]) + free.filter(silent.contains).map { [$0] }
    }

    /// Call it when the query about this number has ended.
    mutating func answered(_ number: Int32, isAnswering: Bool) {
        open.remove(number)
        if isAnswering { silent.remove(number) } else { silent.insert(number) }
    }
}
