/** What a prompt is made of, token by token, as the server counted it. Pure. */
import {
  asList,
  asNumber,
  asNumberOrNull,
  asRecord,
  asText,
  asTexts
} from '../protocol';

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
  /** Counted by the model's own tokenizer; else guessed, for a model elsewhere. */
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

/** Tokens of all cells that are kept. */
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

/** Tokens of each picture that goes along, in their order. */
export function pictureTokens(ledger: ILedger): number[] {
  return ledger.rows
    .filter(row => row.segment === 'image' && row.cell === null)
    .map(row => row.tokens);
}

/** Tokens of each text part of the question, in their order. */
export function questionTokens(ledger: ILedger): number[] {
  return ledger.rows
    .filter(row => row.segment === 'question')
    .map(row => row.tokens);
}
