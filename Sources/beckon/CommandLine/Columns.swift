import ServiceSupport

/// A table of text for terminals. Cells may come from outside, so control characters are escaped.
enum Columns {
    /// The lines of a table whose columns are as wide as their longest cell. The last column is not filled up.
    static func lines(_ titles: [String], _ rows: [[String]]) -> [String] {
        let table = ([titles] + rows).map { $0.map { EscapingLogHandler.escaped($0) } }
        var widths = Array(repeating: 0, count: titles.count)
        for row in table {
            for (index, cell) in row.enumerated() { widths[index] = max(widths[index], cell.count) }
        }
        return table.map { row in
            var line = ""
            for (index, cell) in row.enumerated() where index < row.count - 1 {
                line += cell + String(repeating: " ", count: widths[index] - cell.count + 2)
            }
            line += row.last ?? ""
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
