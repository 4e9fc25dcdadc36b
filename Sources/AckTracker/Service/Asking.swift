/// Whose ends are being asked for, and with whom. A partition that did not answer is asked alone until it does, so that it
/// delays none of the others. A pure value.
struct Asking: Sendable {
    private var open: Set<Int32> = []
    private var silent: Set<Int32> = []

    /// Splits those of `waiting` that are not being asked for into questions: one for all that answer, one for each that
    /// does not.
    mutating func questions(for waiting: [Int32]) -> [[Int32]] {
        let free = waiting.filter { !open.contains($0) }
        open.formUnion(free)
        let together = free.filter { !silent.contains($0) }
        return (together.isEmpty ? [] : [together]) + free.filter(silent.contains).map { [$0] }
    }

    mutating func answered(_ question: [Int32]) { open.subtract(question) }

    /// What a question about one partition alone has shown.
    mutating func note(_ partition: Int32, isAnswering: Bool) {
        if isAnswering { silent.remove(partition) } else { silent.insert(partition) }
    }
}
