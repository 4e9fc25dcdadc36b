extension Duration {
    /// Whole milliseconds, rounded towards zero. Traps above 292 million years.
    package var wholeMilliseconds: Int64 {
        components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
    }

    /// Whole nanoseconds, rounded towards zero. Traps above 292 years.
    package var wholeNanoseconds: Int64 {
        components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
    }

    /// Seconds with their fraction, for measurements and for interfaces that take a `Double`.
    package var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }

    /// Milliseconds with their fraction, for measurements.
    package var inMilliseconds: Double { inSeconds * 1000 }
}
