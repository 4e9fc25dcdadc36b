import Foundation
public import Testing

/// Statements about speed. A test of the suite makes none, because it shares its machine with others;
/// `Benchmarks/suites` makes them, alone on a machine, with `BECKON_MEASURE` set.
public enum Speed {
    /// Whether speed is measured and judged in this run.
    public static let isMeasured = ProcessInfo.processInfo.environment["BECKON_MEASURE"] != nil

    /// Prints a JSON line and expects the ratio to be kept, where speed is measured; does nothing elsewhere.
    /// - Parameters:
    ///   - name: of the measurement, `fcm-beside-hanging-apns`.
    ///   - facts: figures by name, with the unit in the name: `well_p99_ms`.
    ///   - holds: the statement, best a ratio of two figures of the same run.
    public static func expect(
        _ name: String, _ facts: KeyValuePairs<String, Double>, _ holds: @autoclosure () -> Bool,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        guard isMeasured else { return }
        let holds = holds()
        let members =
            facts.map { "\"\($0.key)\": \(($0.value * 1000).rounded() / 1000)" } + ["\"holds\": \(holds)"]
        print("{\"benchmark\": \"\(name)\", \(members.joined(separator: ", "))}")
        #expect(holds, "\(name): \(facts)", sourceLocation: sourceLocation)
    }

    /// Repeats a comparison until it holds, at most five times where speed is measured: one of two figures may be
    /// unlucky, while what is wrong stays wrong. Elsewhere once.
    /// - Returns: the last.
    public static func best<Value>(
        _ measure: (_ round: Int) async throws -> Value, until holds: (Value) -> Bool
    ) async rethrows -> Value {
        var last = try await measure(0)
        guard isMeasured else { return last }
        for round in 1..<5 where !holds(last) { last = try await measure(round) }
        return last
    }
}
