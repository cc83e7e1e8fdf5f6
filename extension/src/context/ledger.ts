/** The parts of a prompt and their tokens, as the server counted them. Pure. */
import {
  asList,
  asNumber,
  asNumberOrNull,
  asRecord,
  asText,
  asTexts
} from '../api/protocol';

export interface ILedgerRow {
  segment: string;
  tokens: number;
  cell: number | null;
  isKept: boolean;
  state: string;
  why: string;
}

export interface ILedger {
  rows: ILedgerRow[];
  total: number;
  window: number;
  leftOut: string[];
  /** Counted by the model's tokenizer; false for estimates, of a model elsewhere. */
  isExact: boolean;
}

export function ledgerOf(data: unknown): ILedger {
  const ledger = asRecord(data);
  const rows = asList(ledger.ledger).map(item => {
    const row = asRecord(item);
    return {
      segment: asText(row.segment),
      tokens: asNumber(row.tokens),
      cell: asNumberOrNull(row.cell),
      isKept: row.kept !== false,
      state: asText(row.state) || 'whole',
      why: asText(row.why)
    };
  });
  return {
    rows,
    total: asNumber(ledger.tokens),
    window: asNumber(ledger.context_length),
    leftOut: asTexts(ledger.left_out),
    isExact: ledger.counted !== 'estimated'
  };
}

const sum = (rows: ILedgerRow[]): number =>
  rows.reduce((total, row) => total + row.tokens, 0);

/** Returns the tokens of one cell, or of all cells. */
export function cellTokens(ledger: ILedger, cell?: number): number {
  return sum(
    ledger.rows.filter(row =>
      cell === undefined ? row.cell !== null : row.cell === cell
    )
  );
}

export function segmentTokens(ledger: ILedger, ...segments: string[]): number {
  return sum(ledger.rows.filter(row => segments.includes(row.segment)));
}

/** Returns the tokens of each attached image, in order. */
export function pictureTokens(ledger: ILedger): number[] {
  return ledger.rows
    .filter(row => row.segment === 'image' && row.cell === null)
    .map(row => row.tokens);
}

/** Returns the tokens of each text part of the question, in order. */
export function questionTokens(ledger: ILedger): number[] {
  return ledger.rows
    .filter(row => row.segment === 'question')
    .map(row => row.tokens);
}
