import Foundation
import Wire

/// What a measurement prints: one JSON line, with names in snake case.
enum BenchLine {
    static func text(_ report: some Encodable) throws -> String {
        let encoder = JSONEncoder.line
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return try encoder.text(report)
    }
}

/// A number of a measurement, with three decimals.
func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
